"""Speech synthesis for nano's world: one function, several engines."""

from __future__ import annotations

import numpy as np

from training.data.sample import SAMPLE_RATE
from training.data.world.speech.espeak import speaker
from training.data.world.voices import Voice


def speak(text: str, voice: Voice, sample_rate: int = SAMPLE_RATE) -> np.ndarray:
    """Clean speech, float32 [samples] in [-1, 1] at `sample_rate` Hz."""
    return speaker().speak(text, voice.name, voice.wpm, voice.pitch, sample_rate)
