"""Dialogues and captions in WebDataset tars, read by the places of their members.

Notable points:
- A sample has one `.json` (a record of any form) or one `.txt` (a caption), and its pictures, sounds and videos.
- Only these are read. Nothing is unpickled: other members of a sample are left alone.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import orjson

from training.data.record_error import RecordError
from training.data.record_forms import has_turns, kind_of, to_llava
from training.data.record_media import FIELDS, KEY_BYTES, KINDS, content_key, media_of
from training.data.records import to_sample
from training.data.sample import Sample
from training.data.sources.lines import PlainBytes
from training.data.sources.tar_index import Place, TarIndex, key_of
from training.data.sources.tar_members import Member, members

TEXTS = (".json", ".txt")
MAX_BYTES = 1 << 30  # of a member


class TarDialogues:
    """A `Source[Sample]`, media as bytes. Raises `ValueError` for a file that is no tar, or tars without samples."""

    def __init__(self, paths: list[Path]) -> None:
        self._index = TarIndex(paths)
        self.fingerprint = self._index.fingerprint
        if len(self._index) == 0:
            raise ValueError(f"{paths[0]} has no samples: files such as 000.jpg and 000.json")

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, index: int) -> Sample:
        place = self._index[index]
        return to_sample(TarSample(place).record(), place.path.parent)

    def where(self, index: int) -> str:
        """tar:key"""
        place = self._index[index]
        try:
            return f"{place.path.name}:{TarSample(place).key}"
        except RecordError:
            return f"{place.path.name}, byte {place.start}"

    def group(self, index: int) -> str:
        """The key of the first picture's content, else of the first video's (`record_media.content_key`)."""
        return TarSample(self._index[index]).content_key()


class TarSample:
    """One sample. Raises `RecordError` if the tar is no longer as it was when it was indexed."""

    def __init__(self, place: Place) -> None:
        self._tar = PlainBytes(place.path)
        try:
            found = [m for m in members(self._tar.read, place.start, place.end) if key_of(m.name)]
        except (ValueError, OSError) as error:
            raise RecordError("unreadable tar", f"{place.path}: {error}") from None
        if not found:
            raise RecordError("unreadable tar", f"{place.path} has changed since it was opened")
        self.key = key_of(found[0].name)
        self._texts = {suffix: [m for m in found if suffix_of(m) == suffix] for suffix in TEXTS}
        self._media = {kind: [m for m in found if kind_of(m.name) == kind] for kind in KINDS}
        self._names = ", ".join(m.name for m in found)

    def record(self) -> dict:
        """What the sample says, as a LLaVA record with its media inside. Raises `RecordError`."""
        record = self._said()
        own = {kind: [self._file(member) for member in found] for kind, found in self._media.items()}
        if not has_turns(record):
            return {"id": self.key, **without_media(record), **own}
        record = to_llava(record)
        files = {kind: packed(kind, named, own[kind], self._names) for kind, named in media_of(record).items()}
        return {"id": self.key, **without_media(record), **files}

    def content_key(self) -> str:
        for member in [*self._media["image"], *self._media["video"]]:
            head, tail = member.data + min(KEY_BYTES, member.size), member.data + max(0, member.size - KEY_BYTES)
            ends = self._tar.read(member.data, head), self._tar.read(tail, member.data + member.size)
            return content_key(member.size, *ends)
        return ""

    def _said(self) -> dict:
        """The record in the sample, or its caption as one."""
        said, captions = self._texts.values()
        if len(said) > 1 or len(captions) > 1 or not (said or captions):
            raise RecordError("no text", f"a sample has one .json, or one .txt, or both; this one is {self._names}")
        record = self._json(said[0]) if said else {}
        if has_turns(record):
            return record
        if not any(self._media.values()):
            raise RecordError("no media", f"the sample is a caption without a picture: {self._names}")
        return {"caption": self._text(captions[0]), **record} if captions else record

    def _json(self, member: Member) -> dict:
        try:
            record = orjson.loads(self._text(member))
        except orjson.JSONDecodeError as error:
            raise RecordError("not JSON", f"{member.name}: {error.msg}") from None
        if not isinstance(record, dict):
            raise RecordError("not a record", f"{member.name} is no JSON object")
        return record

    def _text(self, member: Member) -> str:
        try:
            return self._read(member).decode("utf-8-sig")
        except UnicodeDecodeError:
            raise RecordError("not text", f"{member.name} is not UTF-8") from None

    def _file(self, member: Member) -> dict:
        """A file as `datasets` embeds it."""
        return {"bytes": self._read(member), "path": f"{self._tar.path}:{member.name}"}

    def _read(self, member: Member) -> bytes:
        if member.size > MAX_BYTES:
            raise RecordError("too large", f"{member.name} has {member.size} bytes; at most {MAX_BYTES} are read")
        content = self._tar.read(member.data, member.data + member.size)
        if len(content) < member.size:
            raise RecordError("cut short", f"{member.name}: {self._tar.path} ends before it does")
        return content


def suffix_of(member: Member) -> str:
    return PurePosixPath(member.name).suffix.lower()


def without_media(record: dict) -> dict:
    return {name: value for name, value in record.items() if name not in FIELDS and name != "file_name"}


def packed(kind: str, named: list, own: list[dict], names: str) -> list:
    """The members that a record names; all of its kind, if it names none or as many of other names.

    Raises `RecordError` if a file is not in the sample.
    """
    by_name = {PurePosixPath(file["path"].rpartition(":")[2]).name: file for file in own}
    found = [value if is_embedded(value) else by_name.get(PurePosixPath(path_in(value)).name) for value in named]
    if None not in found and named:
        return found
    if named and len(named) != len(own):
        missing = path_in(named[found.index(None)])[:200]
        raise RecordError("missing file", f"{kind} {missing} is not in the sample, which has {names}")
    return own


def is_embedded(value: str | bytes | dict) -> bool:
    value = value.get("bytes") if isinstance(value, dict) else value
    return isinstance(value, bytes) or (isinstance(value, str) and value.startswith("data:"))


def path_in(value: str | dict) -> str:
    return value["path"] if isinstance(value, dict) else value
