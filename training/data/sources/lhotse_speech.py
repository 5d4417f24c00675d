"""Manifests of lhotse in JSON lines: cuts, or supervisions beside their recordings.

Notable points:
- A line is read by lhotse when it is asked for; a manifest of its own objects would hold them all.
- Only audio in files is used: nothing is executed or fetched. A recording that lhotse would change when it reads it
  (speed, volume) is a bad record; resampling is no change, because everything is resampled here.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lhotse import MonoCut, MultiCut, Recording, SupervisionSegment
from lhotse.augmentation import Resample
from lhotse.serialization import deserialize_item

from training.data.records import RecordError
from training.data.source import Utterance
from training.data.sources.keyed import KeyIndex
from training.data.sources.lines import Lines
from training.data.sources.speech_lines import json_record, name_of
from training.data.sources.spoken import SpeechSource, as_seconds, combined

ENDINGS = (".jsonl", ".jsonl.gz")


class LhotseCuts(SpeechSource):
    """A file of cuts with one supervision each. `media` is the folder that relative paths of audio start from."""

    def __init__(self, path: Path, media: Path) -> None:
        self.lines, self.media = Lines(path), media
        self.fingerprint = self.lines.fingerprint

    def __len__(self) -> int:
        return len(self.lines)

    def place(self, index: int) -> str:
        return self.lines.where(index)

    def entry(self, index: int) -> Utterance:
        with well_formed():
            cut = item_of(self.lines[index], (MonoCut, MultiCut))
            if len(cut.supervisions) != 1:
                count = len(cut.supervisions)
                detail = f"cut {cut.id} has {count} supervisions; `cuts.trim_to_supervisions()` gives each its own cut"
                raise RecordError("not one supervision", detail)
            if cut.recording is None:
                raise RecordError("no audio", f"cut {cut.id} has no recording")
            return utterance_of(cut, cut.supervisions[0], cut.recording, self.media)

    def speaker(self, index: int) -> str:
        match json_record(self.lines[index]).get("supervisions"):
            case [{"speaker": str(speaker)}]:
                return speaker
        return ""


class LhotseSupervisions(SpeechSource):
    """A file of supervisions, and the file of the recordings that they are of."""

    def __init__(self, supervisions: Path, recordings: Path, media: Path) -> None:
        self.lines, self.recordings, self.media = Lines(supervisions), Lines(recordings), media
        self.fingerprint = combined((self.lines.fingerprint, self.recordings.fingerprint))
        self._ids = KeyIndex(map(id_of, self.recordings), len(self.recordings))

    def __len__(self) -> int:
        return len(self.lines)

    def place(self, index: int) -> str:
        return self.lines.where(index)

    def entry(self, index: int) -> Utterance:
        with well_formed():
            said = item_of(self.lines[index], SupervisionSegment)
            found = self._ids.find(str(said.recording_id).encode())
            if found is None:
                raise RecordError("no audio", f"{self.recordings.path.name} has no recording {said.recording_id}")
            return utterance_of(said, said, item_of(self.recordings[found], Recording), self.media)

    def speaker(self, index: int) -> str:
        speaker = json_record(self.lines[index]).get("speaker")
        return speaker if isinstance(speaker, str) else ""


def open_lhotse(path: Path, media: Path) -> SpeechSource:
    """The cuts or supervisions of a file, or of a folder with one such file.

    Raises `ValueError` where it is not clear which, or where the recordings are missing.
    """
    path = the_manifest(path) if path.is_dir() else path
    if "supervisions" not in path.name:
        return LhotseCuts(path, media)
    recordings = path.with_name(path.name.replace("supervisions", "recordings"))
    if not recordings.is_file():
        raise ValueError(f"{path} needs the recordings that it is of; there is no {recordings}")
    return LhotseSupervisions(path, recordings, media)


def manifests_in(folder: Path) -> list[Path]:
    """The files of cuts of a folder; without any, those of supervisions."""
    files = sorted(file for file in folder.iterdir() if file.name.endswith(ENDINGS))
    kinds = ([file for file in files if kind in file.name] for kind in ("cuts", "supervisions"))
    return next((found for found in kinds if found), [])


def the_manifest(folder: Path) -> Path:
    """The manifest of a folder. Raises `ValueError` if it has none, or several."""
    found = manifests_in(folder)
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise ValueError(f"{folder} must have one manifest *cuts*.jsonl or *supervisions*.jsonl (.gz); found: {names}")
    return found[0]


@contextmanager
def well_formed() -> Iterator[None]:
    """lhotse does not check types: what goes wrong with a line is a `RecordError`."""
    try:
        yield
    except RecordError:
        raise
    except (AssertionError, AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise RecordError("not of lhotse", f"lhotse cannot read it: {type(error).__name__}: {error}") from None


def utterance_of(
    span: MonoCut | MultiCut | SupervisionSegment, said: SupervisionSegment, recording: Recording, media: Path
) -> Utterance:
    """What is said in the span of a recording."""
    audio, channel = audio_of(recording, span.channel, media)
    if said.text is not None and not isinstance(said.text, str):
        raise RecordError("no text", f'"text" must be the transcript, not {said.text!r}')
    start, seconds = as_seconds("start", span.start), as_seconds("duration", span.duration)
    return Utterance(audio, said.text or "", name_of(said.speaker), start, seconds, name_of(span.id), channel)


def item_of(line: bytes, kinds: type | tuple[type, ...]) -> Any:
    """A line as lhotse's object. Raises `RecordError` if it is not one of these kinds."""
    record = json_record(line)
    kind = record.get("type")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of manifests of old versions, once a line
        item = deserialize_item(record)
    if not isinstance(item, kinds):
        names = " or ".join(k.__name__ for k in (kinds if isinstance(kinds, tuple) else (kinds,)))
        raise RecordError("not of lhotse", f"a {kind or type(item).__name__} stands where a {names} must be")
    return item


def id_of(line: bytes) -> bytes:
    """The id of a recording; of a line that cannot be read one that nothing asks for."""
    try:
        return str(json_record(line).get("id")).encode()
    except RecordError:
        return line


def audio_of(recording: Recording, channels: int | list[int], media: Path) -> tuple[str, int | None]:
    """(file, channel in it) of these channels of a recording; None for all of them."""
    changes = [change for change in recording.transforms or () if not isinstance(change, Resample)]
    if changes:
        names = ", ".join(type(change).__name__ for change in changes)
        detail = f"recording {recording.id} is changed by {names}: `cuts.save_audios(…)` writes files that are not"
        raise RecordError("changed audio", detail)
    wanted = set(channels) if isinstance(channels, list) else {channels}
    source = next((source for source in recording.sources if wanted <= set(source.channels)), None)
    if source is None or not wanted or (1 < len(wanted) < len(source.channels)):
        detail = f"recording {recording.id} has no file with exactly channels {sorted(wanted)}"
        raise RecordError("no such channel", detail)
    if source.type != "file":
        detail = f"recording {recording.id} is a {source.type}, and nothing is executed or fetched: write it to a file"
        raise RecordError("not a file", detail)
    if len(wanted) == len(source.channels):
        return str(media / source.source), None
    return str(media / source.source), sorted(source.channels).index(wanted.pop())
