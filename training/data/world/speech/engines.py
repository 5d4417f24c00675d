"""The natural engines by name: what each needs that is not installed, and one of each a process.

Notable points:
- Each is optional. An engine's packages are imported and its model is loaded when it first speaks.
- The GPL engines (piper-tts, espeak-ng) make audio for training only; nothing of them is shipped.
"""

from __future__ import annotations

from functools import cache
from typing import Protocol

import numpy as np

from training.data.world.speech.flite import Flite
from training.data.world.speech.hibari import Hibari
from training.data.world.speech.kokoro import Kokoro
from training.data.world.speech.piper import Piper


class Engine(Protocol):
    """A synthesizer."""

    sample_rate: int  # Hz

    @staticmethod
    def missing() -> str:
        """What must be installed before it can speak; "" if nothing."""

    @property
    def version(self) -> str:
        """Of all that its speech depends on."""

    def speak(self, text: str, name: str, speed: float) -> np.ndarray:
        """Speech, float32 [samples]; at speed 2 it is half as long. Raises `ValueError` for a voice that it has not."""


NATURAL: dict[str, type[Engine]] = {"hibari": Hibari, "kokoro": Kokoro, "flite": Flite, "piper": Piper}


@cache
def missing(name: str) -> str:
    """What must be installed before this engine can speak; "" if nothing. As it was when first asked."""
    return NATURAL[name].missing()


@cache
def engine(name: str) -> Engine:
    """This process's engine of that name. Raises `ValueError` if there is none, or it is not installed."""
    if name not in NATURAL:
        raise ValueError(f"no speech engine {name!r}; there are: espeak, {', '.join(NATURAL)}")
    if lacks := missing(name):
        raise ValueError(f"the speech engine {name} is not installed: {lacks}")
    return NATURAL[name]()
