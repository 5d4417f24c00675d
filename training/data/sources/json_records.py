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
from training.data.sources.file_bytes import FileBytes
from training.data.sources.json_index import index_json


class JsonDialogues:
    """A `Source[Sample]`. LLaVA's, VITA's and OpenAI's records may be mixed in one file.

    Raises `ValueError` for a file without records, or whose list has no end. `fingerprint` is of the whole content.
    """

    def __init__(self, path: Path, media: Path, need_files: bool = True) -> None:
        self.path, self.media, self.need_files = path, media, need_files
        self._index = index_json(path)
        self._bytes = FileBytes(path)
        self.fingerprint = self._index.fingerprint

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, index: int) -> Sample:
        return to_sample(self.record(index), self.media, self.need_files)

    def record(self, index: int) -> Any:
        """Record `index` as it is written. Raises `RecordError` if it is not JSON."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        bounds = self._index.bounds
        try:
            return orjson.loads(self._bytes.read(int(bounds[index]) + 1, int(bounds[index + 1])))
        except orjson.JSONDecodeError as error:
            raise RecordError("not JSON", f"{error.msg} in the record") from None

    def where(self, index: int) -> str:
        place = f"{self.path.name}[{index}]" if self._index.is_list else f"{self.path.name}:{self._index.line(index)}"
        return place + named(self._known(index))

    def group(self, index: int) -> str:
        try:
            return group_of(media_of(to_llava(self._known(index))))
        except RecordError:
            return ""

    def _known(self, index: int) -> dict:
        """The record if it is one, else {}."""
        try:
            record = self.record(index)
        except RecordError:
            return {}
        return record if isinstance(record, dict) else {}


def named(record: dict) -> str:
    """The id of a record, for messages: " (id …)", or "" if it has none."""
    return f" (id {record['id']})" if record.get("id") not in (None, "") else ""
