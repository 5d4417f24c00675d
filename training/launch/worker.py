"""One training process of a stage's job, started by torchrun: `python -m training.launch.worker JSON`.

The main process prints its progress as JSON lines, which `parley jobs watch` reads from the pod's log.
"""

from __future__ import annotations

import json
import sys
import time

from training.distributed.process_group import process_group
from training.ending import StageInterruptionError
from training.launch.stage_job import StageJob
from training.launch.stage_process import build, end


class ProgressLines:
    """Prints a line for each set of metrics. `steps`: of the whole stage."""

    def __init__(self, stage: str, steps: int):
        self._stage, self._steps = stage, steps
        self._first: tuple[float, int] | None = None  # when, and at which step, this process began to report

    def __call__(self, step: int, metrics: dict[str, float]) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first = now, step
        began, first = self._first
        line: dict[str, object] = {"progress": self._stage, "step": step, "steps": self._steps}
        if step > first:
            line["seconds_left"] = round((now - began) / (step - first) * (self._steps - step))
        if "loss" in metrics:
            line["loss"] = round(float(metrics["loss"]), 4)
        print(json.dumps(line), flush=True)


def train(job: StageJob) -> None:
    """Trains the stage to its end, from where it was stopped. Raises `StageInterruptionError` on SIGTERM."""
    from training.stages.run import train_and_save

    built = build(job)
    train_and_save(built, job.run, resume=True, on_metrics=ProgressLines(job.stage, built.schedule.steps))


def main(argument: str) -> int:
    job = StageJob.model_validate_json(argument)
    try:
        with process_group(job.world_size, []):
            train(job)
    except (StageInterruptionError, ValueError) as error:
        return end(error)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
