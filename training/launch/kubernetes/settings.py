"""What a training run on a cluster is made with. `parley launch` has an option for each."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from parley.config import preset
from training.recipe import find_stage, recipe, schedule_for

GRACE_SECONDS = 120  # from SIGTERM to SIGKILL: above `training.launch.pod.SHUTDOWN_SECONDS`
OBJECT_STORE = re.compile(r"^[a-z0-9]+://")
NAME = re.compile(r"^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$")
TAINT = re.compile(r"^(?P<key>[^=:]+)(=(?P<value>[^=:]*))?(:(?P<effect>NoSchedule|PreferNoSchedule|NoExecute))?$")


class LaunchSettings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="Of the run and of what is made for it in the cluster")
    preset: str = Field("nano", description="What to train: a preset of parley/config.py")
    stages: tuple[str, ...] = Field(description="Of the recipe, in its order")
    nodes: int = Field(1, ge=1, description="Pods of each stage")
    gpus_per_node: int = Field(0, ge=0, description="GPUs and processes of each pod; 0: one process on its CPUs")
    image: str = Field(description="Of the Dockerfile's target `train`")
    checkpoints: str = Field(description="Name of a ReadWriteMany volume claim, or URL as s3://bucket/folder")
    data: str = Field("", description="Name of a volume claim, mounted read-only at /data; empty: none")
    start: str = Field("", description="Folder of a checkpoint that the first stage starts from, in a pod")
    records: str = Field("", description="With a start: your data in a pod, as /data/mix.yaml")
    seed: int = Field(0, description="Of the data and of fresh weights")
    steps: int | None = Field(None, ge=1, description="Steps of each stage: a quick trial")
    namespace: str = Field("default", description="Namespace of the cluster")
    chain: Literal["auto", "jobset", "launcher"] = Field(
        "auto", description="What starts the next stage: a JobSet, a launcher Job, or a JobSet where there is one"
    )
    cpu: str = Field("4", description="CPUs of each pod")
    memory: str = Field("16Gi", description="Memory of each pod")
    shared_memory: str = Field("8Gi", description="Size of /dev/shm, in which batches travel; part of the memory")
    gpu_resource: str = Field("nvidia.com/gpu", description="Name of the GPU resource")
    node_selector: dict[str, str] = Field(default_factory=dict, description="Labels of the nodes that are wanted")
    tolerations: tuple[str, ...] = Field((), description="Taints that are tolerated: KEY[=VALUE][:EFFECT]")
    priority_class: str = Field("", description="Priority class of the pods")
    queue: str = Field("", description="Kueue's local queue")
    environment: dict[str, str] = Field(default_factory=dict, description="More variables, as NCCL_SOCKET_IFNAME")
    secret: str = Field("", description="Secret whose keys become variables: of the object store, for example")
    service_account: str = Field("", description="Of the pods that train; empty: the namespace's default")
    deadline_hours: float = Field(168, gt=0, description="A stage is ended after this long")
    retries: int = Field(3, ge=0, description="Times that the pods of a stage may fail; preemption does not count")
    port: int = Field(29500, ge=1024, le=65535, description="Where the pods of a stage meet")
    ttl_hours: float = Field(72, ge=0, description="Finished jobs are kept for this long")

    @field_validator("name")
    @classmethod
    def _check_name(cls, value: str) -> str:
        if not NAME.match(value):
            rule = "up to 40 letters a-z, digits and hyphens, a letter first"
            raise ValueError(f"{value!r} cannot name a run; use {rule}")
        return value

    @field_validator("preset")
    @classmethod
    def _check_preset(cls, value: str) -> str:
        preset(value)
        return value

    @field_validator("tolerations")
    @classmethod
    def _check_tolerations(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            if not TAINT.match(value):
                raise ValueError(f"{value!r} is no taint; write KEY, KEY=VALUE or KEY=VALUE:NoSchedule")
        return values

    @model_validator(mode="after")
    def _check_start(self) -> LaunchSettings:
        if self.start and len(self.stages) != 1 and not self.records:
            raise ValueError("a checkpoint without records is trained further in one stage: name it with --stages")
        if self.records and not self.start:
            raise ValueError("records are for finetuning: name the checkpoint to start from")
        return self

    @model_validator(mode="after")
    def _check_processes(self) -> LaunchSettings:
        world = self.nodes * self.processes
        for stage in map(find_stage, self.stages):
            batch = schedule_for(stage, self.preset).batch
            if stage.objective != "codec" and batch < world:
                raise ValueError(f"stage {stage.name} cannot be shared by {world} processes: its batch is {batch}")
        return self

    def stage_before(self, stage: str) -> str | None:
        """Of the stages that are trained; None for the first."""
        number = self.stages.index(stage)
        return self.stages[number - 1] if number else None

    @property
    def in_object_store(self) -> bool:
        return bool(OBJECT_STORE.match(self.checkpoints))

    @property
    def processes(self) -> int:
        """Of each pod."""
        return max(1, self.gpus_per_node)

    @property
    def wants_jobset(self) -> bool:
        """Whether a JobSet is right where there is one. Kueue would wait until all its stages fit at the same time."""
        return self.chain == "jobset" or (self.chain == "auto" and not self.queue)


def check_steps(settings: LaunchSettings) -> None:
    """Raises `ValueError` for a preset that the recipe gives no steps: its stages would end at once, untrained."""
    schedules = {stage: schedule_for(find_stage(stage), settings.preset) for stage in settings.stages}
    endless = [stage for stage, schedule in schedules.items() if not schedule.steps]
    if endless and not settings.start:
        raise ValueError(
            f"{settings.preset} cannot be trained from nothing yet: the recipe gives no steps for "
            f"{', '.join(endless)}; name a checkpoint with --from and your data with --records, "
            "or only look with --dry-run"
        )


def stages_between(preset: str, text: str) -> tuple[str, ...]:
    """The stages that "1.1-3.2", "2.2" or "all" names, in the order of the recipe. Raises `ValueError` for others."""
    names = [stage.name for stage in recipe(preset)]
    if text == "all":
        return tuple(names)
    first, _, last = text.partition("-")
    last = last or first
    for name in (first, last):
        if name not in names:
            raise ValueError(f"{preset} has no stage {name!r}; its stages are {', '.join(names)}")
    if names.index(first) > names.index(last):
        raise ValueError(f"stage {first} comes after {last}; write {last}-{first}")
    return tuple(names[names.index(first) : names.index(last) + 1])
