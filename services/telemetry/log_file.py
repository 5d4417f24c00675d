"""A log file of bounded size, also where several processes write it."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from logging.handlers import WatchedFileHandler
from pathlib import Path

MAX_BYTES = 32 << 20  # of a file; of the one before as much is kept


class LogFile(WatchedFileHandler):
    """Once full, the file becomes FILE.1 in place of the one before, and a new one begins.

    The base class follows: a process that has not renamed it opens the new one at its next line.
    """

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES):
        super().__init__(path, encoding="utf-8")
        self._max_bytes = max_bytes

    def emit(self, record: logging.LogRecord) -> None:
        if self.stream is not None and os.fstat(self.stream.fileno()).st_size >= self._max_bytes:
            self._rename()
        super().emit(record)

    def _rename(self) -> None:
        """Under a lock that all who have the same file open share; the first one renames it."""
        fcntl.flock(self.stream, fcntl.LOCK_EX)  # until the base class closes it
        with contextlib.suppress(FileNotFoundError):  # somebody has removed it
            if os.path.samestat(os.stat(self.baseFilename), os.fstat(self.stream.fileno())):
                os.replace(self.baseFilename, f"{self.baseFilename}.1")
