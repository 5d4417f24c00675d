"""Speech with its transcript, as the objectives of speech stages ask for it."""

from __future__ import annotations

from typing import Protocol

import numpy as np


class Transcribed(Protocol):
    """Utterances by index, at one sample rate. Each is a pure function of its index; there is no last one."""

    sample_rate: int  # Hz
    measures: tuple[str, ...]  # names of the held-out sets

    def utterance(self, index: int) -> tuple[np.ndarray, str]:
        """Training speech, float32 [samples] in [-1, 1], and its transcript."""

    def held_out(self, measure: str, index: int) -> tuple[np.ndarray, str]:
        """Held-out speech and its transcript."""


class Sortable(Transcribed, Protocol):
    """Utterances whose length is known before they are made, so that batches can be sorted by it."""

    def seconds(self, index: int) -> float:
        """About how long training utterance `index` lasts."""


class Spoken(Sortable, Protocol):
    """Utterances of several speakers."""

    def speaker(self, index: int) -> str:
        """Who says training utterance `index`; where nobody knows, its recording."""
