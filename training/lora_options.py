"""How LoRA is asked for, and what it changes in a stage and its schedule; without torch."""

from __future__ import annotations

from dataclasses import replace

from pydantic import BaseModel, ConfigDict, Field

from training.recipe import Schedule, Stage

ENCODERS = ("vision_encoder", "speech_encoder")


class LoraOptions(BaseModel):
    """How large the adapters are and how they are trained."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rank: int = Field(16, ge=1, description="Width of an adapter")
    alpha: int = Field(32, ge=1, description="What an adapter adds is multiplied by alpha / rank")
    dropout: float = Field(0.05, ge=0, lt=1, description="Share of an adapter's inputs that a training step leaves out")
    lr: float = Field(2e-4, gt=0, description="Peak learning rate of the adapters; other parts have the recipe's")


def adapted(stage: Stage) -> Stage:
    """The stage, as LoRA trains it. Raises `ValueError` if it trains no language model that began elsewhere."""
    if "language" not in stage.trains or stage.full is None:
        raise ValueError(
            f"LoRA is for the language model, which stage {stage.name} ({stage.title}) does not train further; "
            "1.2, 1.3 and 2.2 do"
        )
    frozen = tuple(part for part in stage.trains if part in ENCODERS)
    return replace(
        stage, trains=tuple(part for part in stage.trains if part not in frozen), reads=(*stage.reads, *frozen)
    )


def with_lora(schedule: Schedule, options: LoraOptions) -> Schedule:
    """The schedule of a stage whose language model is trained by LoRA."""
    return replace(schedule, lr_of=schedule.lr_of | {"language": options.lr})
