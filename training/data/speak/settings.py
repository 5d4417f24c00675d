"""What is spoken, in which voices, and how it is recorded: the part of a run that decides its result."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

Share = Annotated[float, Field(ge=0, le=1)]


class SpeakSettings(BaseModel):
    """Raises `ValueError` (pydantic's) for a value that cannot be."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(0, description="Of all that is drawn")
    share: Share = Field(1.0, description="Share of the records that are spoken")
    voices: tuple[str, ...] = Field(min_length=1, description="One of them speaks all questions of a record")
    speeds: tuple[float, float] = Field((1.0, 1.0), description="Lowest and highest speed; one is drawn a question")
    noise_chance: Share = Field(0.5, description="That there is noise behind a question")
    music_chance: Share = Field(0.2, description="That there is music behind a question, where there is a folder of it")
    room_chance: Share = Field(0.3, description="That a question is spoken in a reverberant room")
    negatives: int = Field(0, ge=0, description="Records of sound that is not meant for the model")
    cut: Share = Field(0.0, description="Share of the spoken records of which one question is also cut short")
    longest_text: int = Field(600, ge=1, description="Characters of a question; records with a longer one are left out")

    @model_validator(mode="after")
    def _speeds_are_a_range(self) -> SpeakSettings:
        low, high = self.speeds
        if not 0 < low <= high:
            raise ValueError(f"speeds are two numbers above 0, the lower one first, not {low:g} and {high:g}")
        return self
