"""Names of models and voices: what clients of OpenAI ask for → what this gateway serves."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

from services.gateway.api.openai.errors import ApiError
from services.gateway.settings import ApiSettings

VOICES = (
    "alloy",
    "ash",
    "ballad",
    "cedar",
    "coral",
    "echo",
    "fable",
    "marin",
    "nova",
    "onyx",
    "sage",
    "shimmer",
    "verse",
)


class ModelNames:
    """The served model's name, and the names that mean it too."""

    def __init__(self, settings: ApiSettings):
        self.served = settings.model
        self._aliases = [alias.strip() for alias in settings.model_aliases.split(",") if alias.strip()]

    def resolve(self, name: str) -> str:
        """→ the served model. Raises `ApiError` 404 for a name that means no model here."""
        if name == self.served or any(fnmatch.fnmatchcase(name, alias) for alias in self._aliases):
            return self.served
        message = f"The model {name!r} does not exist here; this gateway serves {self.served!r}"
        raise ApiError(message, "model_not_found", "model", status=404)


def speaker_of(voice: str, speakers: Sequence[str]) -> str:
    """A speaker of the checkpoint, for its own name or a voice of OpenAI. Raises `ApiError` for another name."""
    if voice in speakers:
        return voice
    if voice in VOICES:
        return speakers[VOICES.index(voice) % len(speakers)] if speakers else ""
    known = ", ".join([*speakers, *VOICES])
    raise ApiError(f"The voice {voice!r} does not exist here; use one of {known}", "invalid_value", "voice")
