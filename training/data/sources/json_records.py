"""Dialogues in a JSON list or in JSON lines, by a byte index: a record is parsed when it is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from training.data.record_error import RecordError
from training.data.record_forms import to_llava
from training.data.record_media import group_of, media_of
from training.data.records import to_sample
from training.data.sample import Sample
from training.data.sources.json_list import JsonList
from training.data.sources.lines import BOM, Lines, first_line

HEAD = 1 << 16  # bytes in which the records begin
NOT_TEXT = {b"PK\x03\x04": "a zip archive", b"\x1f\x8b": "gzip", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


class JsonDialogues:
    """A `Source[Sample]`. LLaVA's, VITA's and OpenAI's records may be mixed in one file.

    Raises `ValueError` for a file without records, or whose list has no end. `fingerprint` is of the whole content.
    """

    def __init__(self, path: Path, media: Path, need_files: bool = True) -> None:
        self.path, self.media, self.need_files = path, media, need_files
        self._records = open_json(path)
        self.fingerprint = self._records.fingerprint

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Sample:
        return to_sample(self.record(index), self.media, self.need_files)

    def record(self, index: int) -> Any:
        """Record `index` as it is written. Raises `RecordError` if it is not JSON."""
        try:
            return orjson.loads(self._records[index])
        except orjson.JSONDecodeError as error:
            raise RecordError("not JSON", error.msg) from None

    def where(self, index: int) -> str:
        try:
            name = named(self.record(index))
        except RecordError:
            name = ""
        return self._records.where(index) + name

    def group(self, index: int) -> str:
        return group_of(media_of(to_llava(self.record(index))))


def open_json(path: Path) -> Lines | JsonList:
    """The records of a file as bytes. Raises `ValueError` for a file that is no plain text, or has no records."""
    text, packed = beginning(path), path.suffix == ".gz"
    if text.startswith(b"[") and packed:
        raise ValueError(f"{path} is a packed JSON list, which cannot be read by index; unpack it")
    if text.partition(b"\n")[0].strip() == b"{":
        raise ValueError(f"{path} is one JSON object over several lines; write a JSON list, or one record a line")
    records = JsonList(path) if text.startswith(b"[") else Lines(path)
    if len(records) == 0:
        raise ValueError(f"{path} has no records; write a JSON list of records, or one record a line")
    return records


def beginning(path: Path) -> bytes:
    """The first characters of a file that are not white space. Raises `ValueError` for a file that is no plain text."""
    if path.suffix == ".gz":
        return first_line(path).lstrip()
    with path.open("rb") as file:
        head = file.read(HEAD)
    for magic, name in NOT_TEXT.items():
        if head.startswith(magic):
            raise ValueError(f"{path} is {name}; records must be JSON in UTF-8")
    return head.removeprefix(BOM).lstrip()


def named(record: Any) -> str:
    """The id of a record, for messages: " (id …)", or "" if it has none."""
    name = record.get("id") if isinstance(record, dict) else None
    return "" if name in (None, "") else f" (id {name})"
