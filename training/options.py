"""What a user may set for a training; what is not set is the recipe's."""

from __future__ import annotations

from dataclasses import replace

from pydantic import BaseModel, ConfigDict, Field

from training.lora_options import LoraOptions, with_lora
from training.recipe import Schedule


class Options(BaseModel):
    """Of every stage that is trained."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int | None = Field(None, ge=1, description="Optimizer steps of a stage")
    epochs: int | None = Field(None, ge=1, description="Passes over your data")
    batch: int | None = Field(None, ge=1, description="Samples of a step, over all processes")
    tokens: int | None = Field(None, ge=64, description="Tokens of one forward pass, at most")
    sequence_length: int | None = Field(None, ge=32, description="Tokens of a sample, at most")
    lr: float | None = Field(None, gt=0, description="Peak learning rate; those of single parts follow in proportion")
    save_every: int | None = Field(None, ge=1, description="Steps between two saved states")
    validate_every: int | None = Field(None, ge=1, description="Steps between two validations")
    recompute: bool | None = Field(
        None, description="Keep a part of the activations and compute the others again; by itself on a GPU only"
    )
    compile: bool = Field(False, description="Compile the blocks of the networks (torch.compile)")
    lora: LoraOptions | None = Field(None, description="Train the language model by LoRA, in 1.2, 1.3 and 2.2")
    only: tuple[str, ...] = Field((), description="Parts that a stage trains; empty: all that the recipe says")
    skip_bad: bool = Field(False, description="Leave out records that cannot be learned from, counted and named")

    def schedule(self, schedule: Schedule) -> Schedule:
        """A stage's schedule with these settings."""
        names = ("steps", "epochs", "batch", "tokens", "sequence_length", "save_every", "validate_every")
        changed = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        if self.lora is not None:
            schedule = with_lora(schedule, self.lora)
        if self.lr is not None:
            factor = self.lr / schedule.lr
            changed |= {"lr": self.lr, "muon": schedule.muon * factor}
            changed["lr_of"] = {part: rate * factor for part, rate in schedule.lr_of.items()}
        if self.epochs is not None and self.steps is None:
            changed["steps"] = 0  # as many as the passes have
        return replace(schedule, **changed)
