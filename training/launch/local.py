"""A run on this machine: each stage of the recipe in processes of its own.

Notable points:
- `training.plan` decides which stages are due; this module starts, watches and stops their processes.
- A finished stage is never trained again; with `resume` the others continue where they were.
- If a stage fails, the others are told to stop; they save and end.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from training.distributed.process_group import process_group
from training.ending import StageInterruptionError
from training.launch.stage_job import StageJob
from training.launch.stage_process import build, end
from training.options import Options
from training.plan import Progress, Start, due, to_share
from training.recipe import recipe
from training.run_folder import check_startable, is_done
from training.stages.build import check_trainable
from training.stages.run import train_and_save

POLL_SECONDS = 0.2


def train(preset: str, run: Path, *, seed: int = 0, resume: bool = False, jobs: int = 2, options: Options) -> None:
    """Trains every stage of the recipe that is not done yet, up to `jobs` at the same time.

    Raises `ValueError` if the run was begun before and `resume` is not asked for, and `StageInterruptionError` if a
    stage stopped before its end.
    """
    if "WORLD_SIZE" in os.environ:
        raise ValueError("a whole run starts its own processes: under torchrun, name one stage with --stage")
    check_trainable(preset, recipe(preset))
    if not resume and run.exists() and any(run.iterdir()):
        raise ValueError(f"{run} holds a run already; --resume continues it, another --run starts again")
    run.mkdir(parents=True, exist_ok=True)
    launcher = Launcher(preset, run, seed, options, jobs)
    try:
        with launcher.stopped_at_exit():
            launcher.train_all()
    except KeyboardInterrupt:
        raise StageInterruptionError(f"stopped; {launcher.continued_by}") from None


@dataclass
class Running:
    """A stage that runs, in one process or several."""

    process: subprocess.Popen  # the main process of the stage
    bar: int  # line of its progress bar
    processes: int
    restarting: bool = False  # told to stop because it will be started again with more processes


class Launcher:
    """Starts the stages of a run and watches them.

    Args:
        options: what differs from the recipe, in every stage.
        jobs: stages that may run at the same time.
    """

    def __init__(self, preset: str, run: Path, seed: int, options: Options, jobs: int) -> None:
        self.preset, self.run, self.seed, self.options, self.jobs = preset, run, seed, options, jobs
        self.running: dict[str, Running] = {}
        self.failure: tuple[str, int] | None = None  # the first stage that failed, and its exit code
        self.continued_by = f"`parley train {preset} --run {run} --resume` continues it"

    def train_all(self) -> None:
        """Returns when all stages are done. Raises `StageInterruptionError` if one failed."""
        while True:
            for start in self._due():
                self._start(start)
            if not self.running:
                break
            time.sleep(POLL_SECONDS)
            self._collect_ended()
            self._restart_shared()
        if self.failure is not None:
            name, code = self.failure
            raise StageInterruptionError(f"stopped in stage {name} (exit code {code}); {self.continued_by}")

    @contextmanager
    def stopped_at_exit(self):
        """Inside, SIGTERM stops the run as Ctrl-C does; however it ends, no stage is left running."""
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            yield
        finally:
            self._terminate_all()
            for running in self.running.values():
                running.process.wait()
            signal.signal(signal.SIGTERM, before)

    def _progress(self) -> Progress:
        # A stage writes its checkpoint some time before its process ends.
        finished = {stage.name for stage in recipe(self.preset) if is_done(self.run, stage.name)} - self.running.keys()
        return Progress(self.preset, self.jobs, finished, {name: r.processes for name, r in self.running.items()})

    def _due(self) -> list[Start]:
        return due(self._progress()) if self.failure is None else []

    def _start(self, start: Start) -> None:
        bar = next(line for line in range(self.jobs) if line not in [r.bar for r in self.running.values()])
        job = StageJob(
            stage=start.stage.name, run=self.run, preset=self.preset, seed=self.seed, options=self.options, bar=bar,
            processes=start.processes,
        )  # fmt: skip
        process = start_stage(job, threads=max(1, available_cores() // self.jobs))
        self.running[start.stage.name] = Running(process, bar, start.processes)

    def _collect_ended(self) -> None:
        """Removes stages whose process has ended; after the first failure the others are told to stop."""
        for name, running in list(self.running.items()):
            code = running.process.poll()
            if code is None:
                continue
            del self.running[name]
            if code != 0 and not running.restarting and self.failure is None:
                self.failure = (name, code)
                self._terminate_all()

    def _restart_shared(self) -> None:
        """Stops a stage that can continue with more processes; it saves, and is due again when it has ended."""
        stage = to_share(self._progress()) if self.failure is None else None
        if stage is not None and not self.running[stage.name].restarting:
            self.running[stage.name].restarting = True
            self.running[stage.name].process.terminate()

    def _terminate_all(self) -> None:
        for running in self.running.values():
            running.process.terminate()


def start_stage(job: StageJob, threads: int) -> subprocess.Popen:
    """Starts the main process of a stage, which starts the others. Its progress bar is on our standard error."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    return subprocess.Popen(stage_command(job.model_dump_json()), env=environment)


def stage_command(argument: str) -> list[str]:
    return [sys.executable, "-m", "training.launch.local", argument]


def available_cores() -> int:
    return len(os.sched_getaffinity(0))


def processes_of_a_stage(on_cpu: int) -> int:
    """One a GPU of this machine; `on_cpu` where there is none."""
    return torch.cuda.device_count() or on_cpu


def train_stage(job: StageJob, *, resume: bool) -> None:
    """Trains one stage in this process and those that it starts, or as one of those of `torchrun`.

    Raises `ValueError` if the stage cannot be trained, is done, or was begun before and `resume` is not asked for.
    """
    check_startable(job.run, job.stage, resume)
    with process_group(job.processes, stage_command(job.model_dump_json())):
        train_and_save(build(job), job.run, resume=resume, bar=job.bar)


def main(argument: str) -> int:
    """A process of a stage. Trains, or says in one line why it could not; returns the exit code."""
    try:
        train_stage(StageJob.model_validate_json(argument), resume=True)
    except (StageInterruptionError, ValueError) as error:
        return end(error)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
