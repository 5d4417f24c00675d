"""Speech synthesis for nano's world: one function, several engines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import soxr

from training.data.sample import SAMPLE_RATE
from training.data.world.speech.cache import spoken
from training.data.world.speech.espeak import speaker

if TYPE_CHECKING:
    from training.data.world.voices import Voice


def speak(text: str, voice: Voice, sample_rate: int = SAMPLE_RATE) -> np.ndarray:
    """Clean speech, float32 [samples] in [-1, 1] at `sample_rate` Hz. That of natural engines has no silence around it
    and is kept on disk (`cache`). Raises `ValueError` for an engine that is not installed, or a voice it does not have.
    """
    if voice.engine == "espeak":
        return speaker().speak(text, voice.name, voice.wpm, voice.pitch, sample_rate)
    audio, rate = spoken(text, voice)
    return soxr.resample(audio, rate * throat(voice.pitch), sample_rate, "MQ")


def throat(pitch: int) -> float:
    """How much higher and faster natural speech of this pitch (0..100) is than at 50: 0.8 to 1.25. Resampling moves
    pitch, formants and speed by one factor, as a smaller throat would. Engines have few voices; this gives more."""
    return 1.25 ** ((pitch - 50) / 50)
