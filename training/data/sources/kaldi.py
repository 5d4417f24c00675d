"""Kaldi folders: `text` and `wav.scp`, and `segments` and `utt2spk` where they are there.

Notable points:
- The files need not be sorted, and are not held: an utterance is four lines that are found by their keys.
- A `wav.scp` entry that is a command is a bad record: nothing is executed.
- An utterance that has audio and no transcript is a bad record too, so that none is left out without a word.
"""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path

import numpy as np

from training.data.records import RecordError
from training.data.source import Utterance
from training.data.sources.keyed import KeyIndex
from training.data.sources.lines import Lines
from training.data.sources.spoken import SpeechSource, as_seconds, combined

ARCHIVE = re.compile(r"\.ark:\d+$")


class Table:
    """A file of lines `key value …`, by key."""

    def __init__(self, path: Path) -> None:
        self.lines = Lines(path)
        self.keys = KeyIndex((line.split(None, 1)[0] for line in self.lines), len(self.lines))

    def __getitem__(self, key: str) -> str | None:
        """What stands behind the key; None if there is no such line."""
        index = self.keys.find(key.encode())
        return None if index is None else split_line(self.lines[index])[1]


class KaldiSpeech(SpeechSource):
    """See `training.data.sources.speech`. `media` is the folder that relative paths of `wav.scp` start from."""

    def __init__(self, folder: Path, media: Path) -> None:
        self.folder, self.media = folder, media
        self.text, self.recordings = Table(folder / "text"), Table(folder / "wav.scp")
        self.segments = Table(folder / "segments") if (folder / "segments").is_file() else None
        self.speakers = Table(folder / "utt2spk") if (folder / "utt2spk").is_file() else None
        tables = (self.text, self.recordings, self.segments, self.speakers)
        self.fingerprint = combined(table.lines.fingerprint for table in tables if table is not None)

    @cached_property
    def spoken(self) -> Table:
        """The table whose keys are the utterances that have audio."""
        return self.recordings if self.segments is None else self.segments

    @cached_property
    def unwritten(self) -> np.ndarray:
        """Lines of `spoken` that `text` lacks: uint32 [n]."""
        return self.spoken.keys.without(self.text.keys)

    def __len__(self) -> int:
        return len(self.text.lines) + len(self.unwritten)

    def place(self, index: int) -> str:
        table, line = self._line(index)
        return f"{self.folder.name}/{table.lines.where(line)}"

    def entry(self, index: int) -> Utterance:
        table, line = self._line(index)
        name, text = split_line(table.lines[line])
        if table is not self.text:
            raise RecordError("no transcript", f"{name} has audio and no line in {self.folder / 'text'}")
        recording, start, seconds, channel = self._span(name)
        return Utterance(self._audio(recording), text, self._speaker(name), start, seconds, name, channel)

    def speaker(self, index: int) -> str:
        table, line = self._line(index)
        return self._speaker(split_line(table.lines[line])[0])

    def _line(self, index: int) -> tuple[Table, int]:
        """The table and the line that record `index` is."""
        written = len(self.text.lines)
        return (self.text, index) if index < written else (self.spoken, int(self.unwritten[index - written]))

    def _speaker(self, name: str) -> str:
        return (self.speakers[name] or "").strip() if self.speakers is not None else ""

    def _span(self, name: str) -> tuple[str, float, float | None, int | None]:
        """(recording, start, seconds, channel) of an utterance."""
        if self.segments is None:
            return name, 0.0, None, None
        fields = (self.segments[name] or "").split()
        if len(fields) not in (3, 4):
            raise RecordError("no audio", f"{self.folder / 'segments'} has no line `{name} recording start end`")
        start, end = as_seconds("start", fields[1]), as_seconds("end", fields[2])
        channel = int(fields[3]) if len(fields) == 4 and fields[3].isdecimal() else None
        return fields[0], start, None if end == -1 else end - start, channel  # Kaldi: -1 is the end of the recording

    def _audio(self, recording: str) -> str:
        """The file of a recording."""
        entry = (self.recordings[recording] or "").strip()
        if not entry:
            raise RecordError("no audio", f"{self.folder / 'wav.scp'} has no line of recording {recording}")
        if entry.endswith("|") or entry.startswith("|"):
            detail = f"recording {recording} is the output of `{entry}`, and nothing is executed: write it to a file"
            raise RecordError("a command", detail)
        if ARCHIVE.search(entry):
            raise RecordError("an archive", f"recording {recording} is in the archive {entry}: write it to a file")
        return str(self.media / entry)


def split_line(line: bytes) -> tuple[str, str]:
    """(key, what stands behind it). Raises `RecordError` if it is no UTF-8."""
    key, *rest = line.split(None, 1)
    try:
        return key.decode(), rest[0].decode().strip() if rest else ""
    except UnicodeDecodeError as error:
        raise RecordError("not UTF-8", str(error)) from None
