"""Folders of LibriSpeech and AISHELL-1, as they are published → the utterances that are measured, by split."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

from training.data.converters import aishell1
from training.data.converters import librispeech as librispeech_layout
from training.data.converters.part import Part
from training.data.record_error import RecordError
from training.data.records import Bad
from training.data.source import Utterance


class Split:
    """The utterances of a part of a corpus, as a `Source`. A test set has some thousands of them."""

    def __init__(self, part: Part) -> None:
        self.media, self.entries = part.media, list(part.items())
        self.fingerprint = blake2b(repr(self.entries).encode(), digest_size=16).hexdigest()

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> Utterance:
        entry = self.entries[index]
        if isinstance(entry, Bad):
            raise RecordError(entry.reason, entry.detail)
        record = entry.record
        return Utterance(str(self.media / record["audio"]), record["text"], speaker=record["speaker"], id=record["id"])

    def where(self, index: int) -> str:
        entry = self.entries[index]
        return f"{entry.where} (id {entry.id if isinstance(entry, Bad) else entry.record['id']})"

    def group(self, index: int) -> str:
        return self[index].speaker


def librispeech(folder: Path) -> dict[str, Split]:
    """The test splits in the folder, or all if there is none. Raises `ValueError` for another layout."""
    return measured(librispeech_layout.parts(folder))


def aishell(folder: Path) -> dict[str, Split]:
    """As `librispeech`, of AISHELL-1."""
    return measured(aishell1.parts(folder))


def measured(parts: list[Part]) -> dict[str, Split]:
    tests = [part for part in parts if part.split == "test"]
    return {part.name: Split(part) for part in tests or parts}
