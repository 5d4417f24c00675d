"""What all formats of speech share: a record is read when it is asked for, and checked."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

from training.data.records import RecordError
from training.data.source import Utterance

LONGEST_FILE = 1e9  # seconds: no time is beyond


class SpeechSource(ABC):
    """A `Source[Utterance]` whose records are read one by one."""

    fingerprint: str

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def entry(self, index: int) -> Utterance:
        """Record `index` as written, its audio as a path. Raises `RecordError` if it cannot be understood."""

    @abstractmethod
    def place(self, index: int) -> str:
        """Where record `index` is written: "file:line"."""

    def __getitem__(self, index: int) -> Utterance:
        utterance = self.entry(index)
        check_utterance(utterance)
        return utterance

    def where(self, index: int) -> str:
        try:
            name = self.entry(index).id
        except RecordError:
            name = ""
        return f"{self.place(index)} (id {name})" if name else self.place(index)

    def group(self, index: int) -> str:
        """The speaker, else the recording; "" for a record that cannot be understood."""
        try:
            return self.speaker(index) or str(self.entry(index).audio)
        except RecordError:
            return ""

    def speaker(self, index: int) -> str:
        """Who speaks; "" where nobody knows. A format that can tell this faster than the rest overrides it."""
        return self.entry(index).speaker


def check_utterance(utterance: Utterance) -> None:
    """Raises `RecordError` for an utterance without text, with an impossible time or without its file."""
    if not utterance.text.strip():
        raise RecordError("empty text", "the transcript is empty")
    if utterance.start < 0:
        raise RecordError("negative time", f"the utterance starts at {utterance.start:g} s; times are not negative")
    if utterance.seconds is not None and utterance.seconds <= 0:
        end = utterance.start + utterance.seconds
        raise RecordError("end before start", f"the utterance ends at {end:g} s and starts at {utterance.start:g} s")
    if not os.path.isfile(utterance.audio):  # which is never an error, whatever the name
        raise RecordError("missing file", f"audio file {utterance.audio} does not exist")


def as_seconds(name: str, value: Any) -> float:
    """A time of a record. Raises `RecordError` if it is no number."""
    try:
        seconds = LONGEST_FILE if isinstance(value, bool) else float(value)
    except (OverflowError, TypeError, ValueError):
        seconds = LONGEST_FILE
    if not abs(seconds) < LONGEST_FILE:
        raise RecordError("bad time", f'"{name}" must be a number of seconds, not {value!r}')
    return seconds


def combined(fingerprints: Iterable[str]) -> str:
    """One fingerprint of several files."""
    return blake2b(" ".join(fingerprints).encode(), digest_size=16).hexdigest()
