"""What each stage of the recipe needs on given GPUs, whether it fits, and what would fit where it does not."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from parley.config import ParleyConfig, preset
from training.lora_options import LoraOptions, adapted
from training.recipe import Schedule, Stage
from training.resources.amount import Amount
from training.resources.memory import Disk, Memory, disk, memory, parameters
from training.resources.sizes import PartSize, measure
from training.resources.speed import operations, total_tokens

GB = 1e9  # bytes
DAY = 86_400  # seconds
SMALLER = "vita-small"  # the preset for one GPU
MORE_GPUS = (2, 4, 8, 16, 32, 64, 128)
FEWER_TOKENS = (4096, 3072, 2048, 1536, 1024)  # a picture of vita-small has up to 1,280


class Cluster(BaseModel):
    """The GPUs, and how much is made of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    gpus: int = Field(ge=1, description="How many GPUs")
    gpu_memory: float = Field(gt=0, description="Of each GPU, GB (10^9 bytes)")
    peak: float = Field(989.0, gt=0, description="TFLOP/s of a GPU, dense bf16; 989: data sheet of an H100 SXM")
    utilisation: float = Field(0.4, gt=0, le=1, description="Share of the peak that training reaches")
    measured: float | None = Field(None, gt=0, description="Tokens a second of a GPU, where they were measured")

    def tokens_a_second(self, needed: float | None) -> float | None:
        """Of all GPUs together, where a token needs so many floating-point operations."""
        if needed is None:
            return None
        return self.gpus * (self.measured or self.peak * 1e12 * self.utilisation / needed)


class Way(NamedTuple):
    """A change of what is asked for."""

    option: str
    memory: float  # bytes of each GPU that are then needed


@dataclass(frozen=True)
class Estimate:
    """What one stage needs."""

    stage: Stage
    trained: int  # parameters
    memory: Memory  # of each GPU
    disk: Disk
    operations: float | None  # for a token
    tokens_a_second: float | None  # of all GPUs
    days: float | None

    def fits(self, cluster: Cluster) -> bool:
        return self.memory.total <= cluster.gpu_memory * GB


@dataclass(frozen=True)
class Planner:
    """Estimates the stages of one model."""

    config: ParleyConfig
    sizes: dict[str, PartSize]
    lora: LoraOptions | None = None

    @classmethod
    def of(cls, config: ParleyConfig, lora: LoraOptions | None = None) -> Planner:
        return cls(config, measure(config), lora)

    def adapted(self, stage: Stage) -> tuple[Stage, LoraOptions | None]:
        """The stage as it is trained: by LoRA if that was asked for and it trains the language model."""
        by_lora = self.lora is not None and "language" in stage.trains
        return (adapted(stage), self.lora) if by_lora else (stage, None)

    def memory(self, stage: Stage, schedule: Schedule, gpus: int) -> Memory:
        stage, lora = self.adapted(stage)
        return memory(stage, schedule, self.config, self.sizes, gpus, lora)

    def estimate(self, stage: Stage, schedule: Schedule, cluster: Cluster, amount: Amount) -> Estimate:
        trained, lora = self.adapted(stage)
        needed = operations(trained, schedule, self.config, self.sizes, lora)
        rate = cluster.tokens_a_second(needed)
        hours = amount.speech_hours(stage)
        tokens = total_tokens(stage, schedule, self.config, amount.samples, amount.sample_tokens, hours)
        return Estimate(
            stage, parameters(trained, self.sizes, lora).trained, self.memory(stage, schedule, cluster.gpus),
            disk(trained, self.sizes, lora), needed, rate, None if rate is None else tokens / rate / DAY,
        )  # fmt: skip

    def would_fit(self, stage: Stage, schedule: Schedule, cluster: Cluster) -> list[str]:
        """Changes, each of which makes the stage fit."""
        found = []
        for group in self._changes(stage, schedule, cluster.gpus):
            ways = (way.option for way in group if way.memory <= cluster.gpu_memory * GB)
            found += itertools.islice(ways, 1)
        return found

    def advice(self, stage: Stage, schedule: Schedule, cluster: Cluster) -> str:
        """What would fit, as the end of a message."""
        return f"would fit: {', or '.join(self.would_fit(stage, schedule, cluster)) or 'nothing that was tried'}"

    def _changes(self, stage: Stage, schedule: Schedule, gpus: int) -> Iterator[Iterator[Way]]:
        """Of each kind, from the smallest change to the largest."""
        yield (Way(f"{more} GPUs", self.memory(stage, schedule, more).total) for more in MORE_GPUS if more > gpus)
        yield self._fewer_tokens("", stage, schedule, gpus)
        if self.lora is None and "language" in stage.trains:
            yield replace(self, lora=LoraOptions())._fewer_tokens("--lora", stage, schedule, gpus)
        if self.config.name != SMALLER:
            yield Planner.of(preset(SMALLER))._fewer_tokens(SMALLER, stage, schedule, gpus)

    def _fewer_tokens(self, option: str, stage: Stage, schedule: Schedule, gpus: int) -> Iterator[Way]:
        if option:
            yield Way(option, self.memory(stage, schedule, gpus).total)
        for tokens in FEWER_TOKENS:
            if tokens < schedule.tokens:
                fewer = self.memory(stage, with_tokens(schedule, tokens), gpus)
                limits = f"--tokens {tokens}"
                if stage.objective == "next_token":
                    limits += f" --sequence-length {tokens}"
                yield Way(f"{option} {limits}".strip(), fewer.total)


def with_tokens(schedule: Schedule, tokens: int) -> Schedule:
    """The schedule with at most so many tokens in a pass, and so in a sample."""
    return replace(schedule, tokens=tokens, sequence_length=min(tokens, schedule.sequence_length))


def refusal(planner: Planner, estimate: Estimate, schedule: Schedule, cluster: Cluster) -> str | None:
    """What a stage that does not fit needs, and what would fit; None if it fits."""
    if estimate.fits(cluster):
        return None
    stage, total = estimate.stage, estimate.memory.total / GB
    each = "of the GPU" if cluster.gpus == 1 else f"of each of {cluster.gpus} GPUs"
    advice = planner.advice(stage, schedule, cluster)
    return f"stage {stage.name} needs {total:.1f} GB {each}, which has {cluster.gpu_memory:g}; {advice}"
