"""A spoken sentence in a file: made once, said by talkers in other processes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Clip:
    """As a microphone has it."""

    text: str
    audio: np.ndarray  # int16 [samples]
    sample_rate: int  # Hz
    voiced: tuple[int, int]  # first and last sample of speech, found before noise was added

    @property
    def seconds(self) -> float:
        return len(self.audio) / self.sample_rate

    def save(self, path: Path) -> None:
        facts = {"text": self.text, "sample_rate": self.sample_rate, "voiced": self.voiced}
        np.savez(path, audio=self.audio, **facts)

    @classmethod
    def load(cls, path: Path) -> Clip:
        with np.load(path) as file:
            first, last = file["voiced"].tolist()
            return cls(str(file["text"]), file["audio"], int(file["sample_rate"]), (first, last))
