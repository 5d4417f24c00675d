"""Speech with its transcription: what stage 2.1a learns from, whatever it comes from."""

from __future__ import annotations

from typing import Protocol

import numpy as np


class Transcribed(Protocol):
    """Utterances by index, at one sample rate. Each is a pure function of its index; training indices never end."""

    sample_rate: int  # Hz
    measures: tuple[str, ...]  # names of the held-out sets

    def seconds(self, index: int) -> float:
        """About how long training utterance `index` lasts, without making it: batches are sorted by this."""

    def utterance(self, index: int) -> tuple[np.ndarray, str]:
        """Training speech, float32 [samples] in [-1, 1], and what is said."""

    def held_out(self, measure: str, index: int) -> tuple[np.ndarray, str]:
        """Held-out speech and what is said."""
