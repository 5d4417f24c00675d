"""The container of one pod of a stage's job: `python -m training.launch.pod JSON`.

Ends with 0 when the stage is done (at once where it was before), with 2 for a mistake of the configuration, found
before torchrun starts, with 75 where it was told to stop and has saved, else with 1. A pod that is started again goes
on from the last state that was saved.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

from pydantic import ValidationError

from training.launch.check import check
from training.launch.object_store import RunStore
from training.launch.stage_job import StageJob
from training.run_folder import is_done

MISTAKE = 2  # the pod failure policy ends the whole job on it
STOPPED = 75  # EX_TEMPFAIL
SHUTDOWN_SECONDS = 90  # that processes have to finish their step and save; below the pod's grace period
TERMINATION_LOG = Path("/dev/termination-log")  # Kubernetes shows it as the pod's message


def torchrun(job: StageJob, argument: str) -> list[str]:
    """The command that starts the processes of this pod, which meet those of the others."""
    meeting = ["--standalone", f"--nproc-per-node={job.processes}"]
    if job.nodes > 1:
        meeting = [
            f"--nnodes={job.nodes}",
            f"--nproc-per-node={job.processes}",
            "--rdzv-backend=c10d",
            f"--rdzv-id={job.job}",
            f"--rdzv-endpoint={job.endpoint}",
            "--max-restarts=0",  # when a pod is lost, the others end too: all are replaced, and meet anew
        ]
    run = [sys.executable, "-m", "torch.distributed.run", *meeting, f"--shutdown-timeout={SHUTDOWN_SECONDS}"]
    return [*run, "-m", "training.launch.worker", argument]


class Pod:
    """Runs torchrun as a child: what is signalled to the container is passed on to it."""

    def __init__(self, job: StageJob):
        self.job = job
        self.stopping = False
        self._child: subprocess.Popen | None = None

    def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        if self.stopping:
            return STOPPED
        self._child = subprocess.Popen(torchrun(self.job, self.job.model_dump_json()))
        if self.stopping:  # between the two
            self._child.terminate()
        code = self._child.wait()
        if code and self.stopping:
            return STOPPED
        return 1 if code else 0

    def _stop(self, number: int, frame: object) -> None:
        self.stopping = True
        if self._child is not None:
            with contextlib.suppress(ProcessLookupError):
                self._child.terminate()


def is_first() -> bool:
    """Whether this pod writes: the one of index 0."""
    return int(os.environ.get("JOB_COMPLETION_INDEX", "0")) == 0


def say(message: str) -> None:
    """To the log, and to where Kubernetes takes a pod's message from."""
    print(message, file=sys.stderr, flush=True)
    if TERMINATION_LOG.exists():
        TERMINATION_LOG.write_text(message[:4096])


def main(argument: str) -> int:
    try:
        job = StageJob.model_validate_json(argument)
        store = RunStore(job.store, job.run) if job.store else None
        if store is not None:
            store.fetch(job.stage)
        if is_done(job.run, job.stage):
            print(f"stage {job.stage} is done", flush=True)
            return 0
        check(job)
    except (ValidationError, ValueError) as error:
        say(f"stage cannot be trained: {error}")
        return MISTAKE
    if store is None:
        return Pod(job).run()
    with store.mirrored(job.stage) if is_first() else contextlib.nullcontext():
        return Pod(job).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
