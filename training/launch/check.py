"""What can be wrong with a stage's job, found before any process trains: torchrun turns every exit status into 1."""

from __future__ import annotations

import os
from pathlib import Path

from training.launch.stage_job import StageJob
from training.recipe import Schedule, find_stage, schedule_for
from training.run_folder import is_done


def check(job: StageJob) -> None:
    """Raises `ValueError` for a mistake of the configuration."""
    from training.launch.stage_process import build
    from training.stages.build import check_trainable

    stage = find_stage(job.stage)
    check_writable(job.run)
    if job.records is not None and job.start is None:
        raise ValueError("records are for finetuning: name the checkpoint to start from")
    if job.start is not None:
        check_shared(job, build(job).schedule)
        return
    check_trainable(job.preset, [stage])
    if missing := [parent for parent in stage.after if not is_done(job.run, parent)]:
        raise ValueError(f"stage {job.stage} builds on {', '.join(missing)}, which {job.run} does not have")
    check_shared(job, job.options.schedule(schedule_for(stage, job.preset)))


def check_shared(job: StageJob, schedule: Schedule) -> None:
    """Raises `ValueError` if some process would have no sample."""
    if job.world_size > schedule.batch:
        raise ValueError(
            f"stage {job.stage}: {schedule.batch} samples a step cannot be shared by {job.world_size} processes"
        )


def check_writable(run: Path) -> None:
    """Raises `ValueError` for a run's folder that this user cannot make or write."""
    try:
        run.mkdir(parents=True, exist_ok=True)
        writable = os.access(run, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        raise ValueError(f"{run} cannot be written by user {os.getuid()}; make its volume writable for that user")
