"""Text–speech pairs: what stages 3.1 and 3.2 learn from."""

from __future__ import annotations

from typing import Protocol

import numpy as np


class SpeechPairs(Protocol):
    """Utterances by index, at one sample rate. Training indices never end; held-out ones are other sentences."""

    sample_rate: int  # Hz

    def waveform(self, index: int) -> np.ndarray:
        """Training speech of any voice: float32 [samples]."""

    def held_out(self, index: int) -> np.ndarray:
        """Speech of held-out sentences: float32 [samples]."""
