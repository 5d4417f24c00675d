"""The bad records that training leaves out: each is named once, in a file that all processes of a stage write.

Without leave to skip, the first bad record ends the run.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
from pathlib import Path
from typing import IO

from tqdm import tqdm

FILE = "skipped.jsonl"
SHOWN = 20  # bad records that are named on the terminal


class Skipped:
    """What was left out.

    Args:
        file: gets a line of JSON a record: {"source", "where", "reason", "detail"}.
        allowed: whether bad records may be left out at all.
    """

    def __init__(self, file: Path, allowed: bool) -> None:
        self.file, self.allowed = file, allowed
        self._named: set[tuple[str, str]] = set()  # (source, where) of what is in the file, as far as it was read
        self._read = 0  # bytes of the file

    def add(self, source: str, where: str, error: ValueError) -> None:
        """Names a bad record. Raises `ValueError` if none may be left out."""
        if not self.allowed:
            raise ValueError(
                f"{where}: {error}; `parley data check` names all bad records of a file, --skip-bad leaves them out"
            )
        if (source, where) not in self._named:
            reason = getattr(error, "reason", "unreadable")
            self._write({"source": source, "where": where, "reason": reason, "detail": str(error)})

    def count(self) -> int:
        """How many records any process has left out."""
        if self.file.exists():
            with self.file.open("rb") as file:
                self._catch_up(file)
        return len(self._named)

    def _write(self, line: dict[str, str]) -> None:
        """Unless another process, or this run before it was resumed, has named the record."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("ab+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # until it is closed
            ended = self._catch_up(file)
            if (line["source"], line["where"]) in self._named:
                return
            file.write(b"" if ended else b"\n")
            file.write(json.dumps(line).encode() + b"\n")
        if len(self._named) < SHOWN:  # this one is read with the next
            more = f"; all others are named in {self.file}" if len(self._named) == SHOWN - 1 else ""
            tqdm.write(f"skipped {line['where']}: {line['detail']}{more}")  # above the progress bar

    def _catch_up(self, file: IO[bytes]) -> bool:
        """Reads what was written since the last time. Returns whether the last line is whole: a process may have been
        killed while it wrote."""
        file.seek(self._read)
        new = file.read()
        self._read += len(new)
        for line in new.splitlines():
            with contextlib.suppress(ValueError):
                known = json.loads(line)
                self._named.add((known["source"], known["where"]))
        return not new or new.endswith(b"\n")
