"""A run over the user's data: the stages of the recipe one after the other, each from the one before.

Each stage has all GPUs of this machine, one process each, or `jobs` processes on its CPUs. A finished stage is never
trained again; with `resume` the first that is not finished continues where it was.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from parley.checkpoints import Checkpoint
from parley.checkpoints.manifest import Manifest
from training.data.mix import Mix, read_mix
from training.ending import StageInterruptionError
from training.launch.local import available_cores, processes_of_a_stage, start_stage
from training.launch.stage_job import StageJob
from training.options import Options
from training.recipe import STAGES, Stage
from training.run_folder import is_begun, is_done
from training.stages.user_data import check_kinds

USE_ANOTHER = "give the same --from and --data as before, or use another --run"


@dataclass(frozen=True)
class OrderedRun:
    """What is trained, from what, on what."""

    start: Path  # checkpoint
    data: Path  # mix.yaml
    run: Path
    seed: int
    options: Options
    jobs: int  # processes of a stage on CPUs

    def train_all(self, resume: bool) -> None:
        """Trains every stage that is not done yet.

        Raises `ValueError` if a stage finds no data in the mix, or if the run was begun before and `resume` is not
        asked for; `StageInterruptionError` if a stage stopped before its end.
        """
        if "WORLD_SIZE" in os.environ:
            raise ValueError("a whole run starts its own processes: under torchrun, name one stage with --stage")
        stages, start = [stage for stage in STAGES if stage.full is not None], self.start
        if not resume and any(is_begun(self.run, stage.name) for stage in stages):
            raise ValueError(f"{self.run} holds a run already; --resume continues it, another --run starts again")
        mix = read_mix(self.data)
        check_mix(stages, mix)
        for stage in stages:
            if is_done(self.run, stage.name):
                self._check_done(stage, start, mix)
            else:
                self._train(self._job(stage, start))
            start = self.run / stage.name

    def _check_done(self, stage: Stage, start: Path, mix: Mix) -> None:
        """Raises `ValueError` if a stage that is done was trained from something else than `start`, or on other data:
        the next stages would go on from it in silence."""
        folder = self.run / stage.name
        done, before = Checkpoint.open(folder).manifest, Checkpoint.open(start).manifest
        kept = [part for part in before.parts if part not in stage.trains]
        if other := [part for part in kept if hashes(done, part) != hashes(before, part)]:
            raise ValueError(f"{folder} was not trained from {start}: its {other[0]} is another; {USE_ANOTHER}")
        if str(done.data.get("fingerprint")).partition("/")[0] != mix.fingerprint:
            raise ValueError(f"{folder} was trained on other data than {mix.path} has; {USE_ANOTHER}")

    def _job(self, stage: Stage, start: Path) -> StageJob:
        return StageJob(
            stage=stage.name, run=self.run, seed=self.seed, options=self.options, start=start,
            records=self.data, processes=processes_of_a_stage(self.jobs),
        )  # fmt: skip

    def _train(self, job: StageJob) -> None:
        """Waits for the processes of a stage; Ctrl-C and SIGTERM stop them, and they save."""
        process = start_stage(job, threads=max(1, available_cores() // job.processes))
        with _passed_on(process):
            code = process.wait()
        if code:
            raise StageInterruptionError(f"stopped in stage {job.stage} (exit code {code}); {self._continued_by}")

    @property
    def _continued_by(self) -> str:
        return f"the same command with --resume continues {self.run}"


def hashes(manifest: Manifest, part: str) -> list[str]:
    """Of the files of a part; none where the checkpoint does not have it."""
    return [file.sha256 for file in manifest.parts[part].files] if part in manifest.parts else []


@contextmanager
def _passed_on(process: subprocess.Popen):
    """Inside, SIGTERM and Ctrl-C end `process` and not this one."""
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, lambda *_: process.terminate()) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def check_mix(stages: Sequence[Stage], mix: Mix) -> None:
    """Raises one `ValueError` that names every stage for which the mix has no data."""
    wrong = []
    for stage in stages:
        try:
            check_kinds(stage, stage.full, mix)
        except ValueError as error:
            wrong.append(str(error))
    if wrong:
        raise ValueError("; ".join(wrong) + "; one stage alone is trained with --stage")
