"""Where clean speech begins and ends, and how it is cut."""

from __future__ import annotations

import numpy as np

from training.data.sample import SAMPLE_RATE

VOICED = 0.02  # of full scale: a sample of clean speech above it is voiced
EDGE = 0.02  # seconds beside voiced samples that are kept: soft sounds
FADE = 0.01  # seconds, so that a cut makes no click


def samples(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE)


def trimmed(audio: np.ndarray) -> np.ndarray:
    """Clean speech without the silence in front and behind."""
    voiced = np.flatnonzero(np.abs(audio) > VOICED)
    if not len(voiced):
        return audio
    return audio[max(0, voiced[0] - samples(EDGE)) : voiced[-1] + 1 + samples(EDGE)]


def faded(audio: np.ndarray) -> np.ndarray:
    """The audio with its end faded out."""
    end = min(len(audio), samples(FADE))
    return np.concatenate(
        [audio[: len(audio) - end], audio[len(audio) - end :] * np.linspace(1, 0, end, dtype=np.float32)]
    )
