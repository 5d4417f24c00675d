"""`FileBytes`: ranges of an open file, for any number of threads and forked processes at once."""

from __future__ import annotations

import os
from pathlib import Path


class FileBytes:
    """Reads by `pread`, which moves no offset that a forked process would share. A pickled one opens the file anew."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def read(self, start: int, end: int) -> bytes:
        """The bytes from `start` up to `end`, fewer where the file ends."""
        pieces = []
        while start < end and (piece := os.pread(self._descriptor, end - start, start)):
            pieces.append(piece)
            start += len(piece)
        return b"".join(pieces)

    def __reduce__(self):
        return FileBytes, (self.path,)

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):  # not where the file could not be opened
            os.close(self._descriptor)
