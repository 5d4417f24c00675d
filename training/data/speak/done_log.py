"""The log of finished items: one JSON line each, in any order, so that a run that was killed goes on behind it."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np


class DoneLog:
    """Appends lines, and finds the line of an item. Holds 8 bytes an item in memory.

    Raises `ValueError` if another process writes this log, or if it is of more items.
    """

    def __init__(self, path: Path, items: int):
        self.path = path
        self._file = path.open("ab", buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise ValueError(f"another process is writing into {path.parent}") from None
        self._offsets = np.full(items, -1, np.int64)
        self._end = 0
        self._index()

    def __enter__(self) -> DoneLog:
        return self

    def __exit__(self, *_) -> None:
        self._file.close()

    def __contains__(self, item: int) -> bool:
        return bool(self._offsets[item] >= 0)

    def __len__(self) -> int:
        return int(np.count_nonzero(self._offsets >= 0))

    def append(self, item: int, value: dict) -> None:
        """Writes an item's line; it survives the end of the process. Raises `ValueError` on a full disk."""
        line = json.dumps({"item": item} | value, ensure_ascii=False).encode(errors="replace") + b"\n"
        try:
            written = self._file.write(line)
        except OSError as error:
            raise ValueError(f"{self.path} cannot be written: {error.strerror}") from None
        if written != len(line):
            raise ValueError(f"{self.path} cannot be written whole; is the disk full?")
        self._offsets[item], self._end = self._end, self._end + len(line)

    def __iter__(self) -> Iterator[dict]:
        """The lines in the order of their items."""
        with self.path.open("rb") as file:
            for offset in self._offsets[self._offsets >= 0].tolist():
                file.seek(offset)
                yield json.loads(file.readline())

    def _index(self) -> None:
        """Finds the lines that are there. A last line without an end was being written when the process was killed."""
        with self.path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                item = json.loads(line)["item"]
                if item >= len(self._offsets):
                    raise ValueError(f"{self.path} is of other records: it holds item {item} of {len(self._offsets)}")
                self._offsets[item], self._end = self._end, self._end + len(line)
        self._file.truncate(self._end)
