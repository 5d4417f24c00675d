"""What speaks a text: a command, an HTTP endpoint or a library; and what is raised when it does not."""

from __future__ import annotations

import unicodedata
from typing import Protocol

import numpy as np

LONGEST_SPEECH = 60.0  # seconds of one question; a conversation takes no longer one


class SpeechError(Exception):
    """A text was not spoken. `again`: whether another attempt may help; `after`: seconds to wait first, if known."""

    def __init__(self, message: str, again: bool = True, after: float | None = None):
        super().__init__(message)
        self.again, self.after = again, after


class Engine(Protocol):
    """Speaks texts, several at once from several threads."""

    def speak(self, text: str, voice: str, speed: float) -> np.ndarray:
        """Speech, float32 [samples] at 16 kHz; `speed` 1 is the voice's own.

        Raises `SpeechError` if this text was not spoken, `ValueError` if none will be: no such program, a wrong key.
        """

    def describe(self) -> dict[str, str]:
        """What is written into the manifest. Never a key."""

    def close(self) -> None:
        """Ends what is being spoken; later calls of `speak` fail."""


def one_line(text: str) -> str:
    """The text without control characters and line ends, which programs take for the end of the text."""
    spaced = "".join(" " if unicodedata.category(character) in ("Cc", "Cs") else character for character in text)
    return " ".join(spaced.split())


def heard(audio: np.ndarray) -> np.ndarray:
    """The audio, if there is sound in it. Raises `SpeechError` for silence."""
    if len(audio) == 0 or float(np.abs(audio).max()) < 1e-3:
        raise SpeechError("the speech is silent")
    return audio
