"""What every process of a stage does: it builds the stage of its job, and says how it ended."""

from __future__ import annotations

import os
import sys

from training.distributed.process_group import is_main_process
from training.ending import OtherProcessError, SampleError, StageInterruptionError
from training.launch.stage_job import StageJob
from training.stages.build import BuiltStage, build_stage
from training.stages.finetune import build_finetune

INTERRUPTED = os.EX_TEMPFAIL  # exit code of a stage that was stopped and can be continued


def build(job: StageJob) -> BuiltStage:
    """Raises `ValueError` if the stage cannot be trained."""
    if job.start is not None:
        return build_finetune(job.stage, job.start, job.run, job.records, job.seed, job.options)
    return build_stage(job.stage, job.run, job.preset, job.seed, job.options)


def end(error: Exception) -> int:
    """Says why a process of a stage could not go on, in the process that knows. Returns its exit code."""
    if isinstance(error, SampleError) or (is_main_process() and not isinstance(error, OtherProcessError)):
        print(error, file=sys.stderr)
    return INTERRUPTED if isinstance(error, StageInterruptionError) else 1
