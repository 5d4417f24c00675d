"""How much a stage learns from: the paper's amounts, or the user's."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from training.data.mix import SPEECH, Mix
from training.data.shares import Available, samples_taken
from training.recipe import Schedule, Stage


class Amount(BaseModel):
    """How much is learned from. The defaults are the paper's amounts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    samples: float = Field(22.13e6, ge=0, description="Dialogues of a stage")
    sample_tokens: float = Field(2560, gt=0, description="Tokens of a dialogue: a picture of ten tiles has 2,560")
    hours: float | None = Field(None, ge=0, description="Hours of speech; paper: 11,000 in 2.1, 3,000 in 3.x")

    def speech_hours(self, stage: Stage) -> float:
        return self.hours if self.hours is not None else (3_000 if stage.name.startswith("3") else 11_000)

    def of_mix(self, mix: Mix, schedule: Schedule) -> Amount:
        """With the dialogues that the recipe's shares take of a user's sources."""
        sources = [Available(mixed.kind, mixed.weight, len(mixed.source)) for mixed in mix.sources]
        taken = zip(sources, samples_taken(schedule, sources), strict=True)
        return self.model_copy(update={"samples": sum(count for source, count in taken if source.kind not in SPEECH)})
