"""hibari: one natural American voice, some hundred times faster than real time on one core. Apache-2.0."""

from __future__ import annotations

from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np

from training.data.world.speech.packages import lacking

if TYPE_CHECKING:
    import hibari

VOICE = "heart"  # the others are downloads


class Hibari:
    """Of the package `hibari-tts`."""

    sample_rate = 24_000

    @staticmethod
    def missing() -> str:
        return lacking("hibari", "onnxruntime")

    @cached_property
    def version(self) -> str:
        return version("hibari-tts")

    @cached_property
    def _model(self) -> hibari.Hibari:
        import hibari

        return hibari.Hibari(VOICE, threads=1)

    def speak(self, text: str, name: str, speed: float) -> np.ndarray:
        if name != VOICE:
            raise ValueError(f"hibari has no voice {name!r}; it has: {VOICE}")
        return self._model(text, speed, seed=0)
