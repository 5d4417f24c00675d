"""What can be wrong with a stage's job, found before any process trains: torchrun turns every exit status into 1."""

from __future__ import annotations

import os
from pathlib import Path

from training.launch.stage_job import StageJob
from training.plan import can_be_shared
from training.recipe import find_stage, schedule_for
from training.run_folder import is_done


def check(job: StageJob) -> None:
    """Raises `ValueError` for a mistake of the configuration."""
    from training.stages.build import check_trainable
    from training.stages.finetune import build_finetune

    stage = find_stage(job.stage)
    check_writable(job.run)
    if job.records is not None and job.start is None:
        raise ValueError("records are for finetuning: name the checkpoint to start from")
    if job.start is not None:
        if job.world_size > 1:
            raise ValueError("a stage with a checkpoint to start from runs in one process for now: 1 node of 1 GPU")
        build_finetune(job.stage, job.start, job.records, job.seed, job.steps)
        return
    check_trainable(job.preset, [stage])
    if missing := [parent for parent in stage.after if not is_done(job.run, parent)]:
        raise ValueError(f"stage {job.stage} builds on {', '.join(missing)}, which {job.run} does not have")
    if job.world_size > 1 and not can_be_shared(stage, job.preset, job.world_size):
        batch = schedule_for(stage, job.preset).batch
        raise ValueError(
            f"stage {job.stage} cannot be shared by {job.world_size} processes: "
            + ("the codec is trained by one" if stage.objective == "codec" else f"its batch is {batch}")
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
