"""Spoken sentences in files, and conversations of them: made once, said by clients in other processes."""

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
    kind: str = "plain"  # how it is said (`manners.KINDS`)
    pause: float = 0.0  # seconds of silence that were put into it
    whole_before: bool = False  # what is said before the pause is a question, too

    @property
    def seconds(self) -> float:
        return len(self.audio) / self.sample_rate

    def save(self, path: Path) -> None:
        facts = {"text": self.text, "sample_rate": self.sample_rate, "voiced": self.voiced}
        facts |= {"kind": self.kind, "pause": self.pause, "whole_before": self.whole_before}
        np.savez(path, audio=self.audio, **facts)

    @classmethod
    def load(cls, path: Path) -> Clip:
        with np.load(path) as file:
            first, last = file["voiced"].tolist()
            said = str(file["kind"]), float(file["pause"]), bool(file["whole_before"])
            return cls(str(file["text"]), file["audio"], int(file["sample_rate"]), (first, last), *said)


@dataclass(frozen=True)
class Dialogue:
    """Questions of one speaker about one picture."""

    picture: bytes  # PNG
    clips: list[Clip]

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        (folder / "picture.png").write_bytes(self.picture)
        for number, clip in enumerate(self.clips):
            clip.save(folder / f"{number:02}.npz")

    @classmethod
    def load(cls, folder: Path) -> Dialogue:
        return cls((folder / "picture.png").read_bytes(), [Clip.load(path) for path in sorted(folder.glob("*.npz"))])
