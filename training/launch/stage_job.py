"""One stage as a job: what its processes are told, as one JSON argument, and how they build and end it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from training.distributed.process_group import is_main_process
from training.ending import OtherProcessError, SampleError, StageInterruptionError
from training.options import Options

if TYPE_CHECKING:
    from training.stages.build import BuiltStage


INTERRUPTED = os.EX_TEMPFAIL  # exit code of a stage that was stopped and can be continued


class StageJob(BaseModel):
    """The same for all processes and pods of the stage."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    stage: str = Field(description="Of the recipe, for example 2.1b")
    preset: str = Field("nano", description="Of parley/config.py")
    run: Path = Field(description="Folder of the run, in the pod; on a shared volume unless `store` is given")
    store: str = Field("", description="URL of the run in an object store, as s3://bucket/run; empty: none")
    seed: int = Field(0, description="Of the data and of fresh weights")
    options: Options = Field(Options(), description="What differs from the recipe")
    bar: int = Field(0, ge=0, description="Line of the progress bar, where several stages are trained side by side")
    nodes: int = Field(1, ge=1, description="Pods")
    processes: int = Field(1, ge=1, description="Of this machine, or of each pod: its GPUs")
    endpoint: str = Field("", description="host:port where the pods meet; empty: one pod")
    job: str = Field("parley", description="Name under which they meet")
    start: Path | None = Field(None, description="Checkpoint to finetune in place of the run's earlier stages")
    records: Path | None = Field(None, description="With `start`: mix.yaml, or a file of records")

    @property
    def world_size(self) -> int:
        return self.nodes * self.processes

    def build(self) -> BuiltStage:
        """Raises `ValueError` if the stage cannot be trained."""
        from training.stages.build import build_stage
        from training.stages.finetune import build_finetune

        if self.start is not None:
            return build_finetune(self.stage, self.start, self.run, self.records, self.seed, self.options)
        return build_stage(self.stage, self.run, self.preset, self.seed, self.options)


def end(error: Exception) -> int:
    """Says why a process of a stage could not go on, in the process that knows. Returns its exit code."""
    if isinstance(error, SampleError) or (is_main_process() and not isinstance(error, OtherProcessError)):
        print(error, file=sys.stderr)
    return INTERRUPTED if isinstance(error, StageInterruptionError) else 1
