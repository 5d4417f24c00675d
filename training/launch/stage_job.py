"""One stage as a job: what its processes are told, as one JSON argument."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from training.options import Options


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
