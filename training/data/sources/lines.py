"""The lines of a text file by index, gzip or not: a process holds where they begin, not the lines.

Notable points:
- 8 bytes a line in memory. A file that is gzip-compressed is held as compressed blocks, because gzip itself cannot be
  read from the middle.
- Lines are read with `pread`, so a process that is forked shares nothing with its parent that moves.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterable, Iterator
from functools import cached_property
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path

import numpy as np
from tqdm import tqdm

CHUNK = 1 << 22  # bytes read at a time
BAR_DELAY = 3.0  # seconds
BLOCK = 1 << 16  # bytes of a compressed block: what a line of a gzip file costs to read
RUN = 1024  # lines of a read when all are read in order
LONGEST_BLANK = 16  # bytes
BOM = b"\xef\xbb\xbf"


class PlainBytes:
    """A file, read in pieces."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def chunks(self) -> Iterator[bytes]:
        """The whole content, piece by piece; a bar shows it where that takes long."""
        bar = tqdm(desc=f"index {self.path.name}", unit="B", unit_scale=True, delay=BAR_DELAY, disable=None)
        with self.path.open("rb") as file, bar:
            bar.reset(os.fstat(file.fileno()).st_size)
            while chunk := file.read(CHUNK):
                yield chunk
                bar.update(len(chunk))

    def read(self, start: int, stop: int) -> bytes:
        return os.pread(self._file.fileno(), stop - start, start)

    @cached_property
    def _file(self):
        return self.path.open("rb", buffering=0)

    def __getstate__(self) -> dict:
        return {"path": self.path}


class GzipBytes:
    """The content of a gzip file, held in memory as blocks that are compressed one by one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._blocks: list[bytes] = []
        self._open: tuple[int, bytes] = (-1, b"")  # number and content of the block read last

    def chunks(self) -> Iterator[bytes]:
        """The whole content, block by block; fills the blocks. Raises `ValueError` if it is no whole gzip file."""
        self._blocks = []
        try:
            with gzip.open(self.path) as file:
                while chunk := file.read(BLOCK):
                    self._blocks.append(zlib.compress(chunk, 1))
                    yield chunk
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(f"{self.path}: not a whole gzip file: {error}") from None

    def read(self, start: int, stop: int) -> bytes:
        first, last = start // BLOCK, max(stop - 1, start) // BLOCK
        content = b"".join(self._block(number) for number in range(first, last + 1))
        return content[start - first * BLOCK : stop - first * BLOCK]

    def _block(self, number: int) -> bytes:
        known, content = self._open
        if known != number:
            content = zlib.decompress(self._blocks[number])
            self._open = (number, content)
        return content


class Lines:
    """The lines of a UTF-8 file that are not blank, by index, as bytes without the line end.

    Raises `ValueError` if there is no such file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise ValueError(f"no such file: {self.path}")
        self._bytes = GzipBytes(self.path) if self.path.suffix == ".gz" else PlainBytes(self.path)
        content = blake2b(digest_size=16)
        self._bounds = line_bounds(_hashed(self._bytes.chunks(), content))  # int64 [lines + 1]
        self.fingerprint = content.hexdigest()
        self._kept = self._not_blank()  # int64 [len(self)]; None where no line is blank

    def __len__(self) -> int:
        return len(self._bounds) - 1 if self._kept is None else len(self._kept)

    def __getitem__(self, index: int) -> bytes:
        return self._line(self.number(index) - 1)

    def __iter__(self) -> Iterator[bytes]:
        """All lines in order, many a read."""
        for first in range(0, len(self._bounds) - 1, RUN):
            bounds = self._bounds[first : first + RUN + 1].tolist()
            content = self._bytes.read(bounds[0], bounds[-1])
            for line, (start, stop) in enumerate(pairwise(bounds), first):
                piece = without_ends(content[start - bounds[0] : stop - bounds[0]], first=line == 0)
                if not is_blank(piece):
                    yield piece

    def number(self, index: int) -> int:
        """The number in the file of line `index`, counted from 1."""
        if not 0 <= index < len(self):
            raise IndexError(f"{self.path} has {len(self)} lines, not a line {index}")
        return 1 + (index if self._kept is None else int(self._kept[index]))

    def where(self, index: int) -> str:
        """file:line"""
        return f"{self.path.name}:{self.number(index)}"

    def _line(self, line: int) -> bytes:
        start, stop = self._bounds[line : line + 2].tolist()
        return without_ends(self._bytes.read(start, stop), first=line == 0)

    def _not_blank(self) -> np.ndarray | None:
        short = np.flatnonzero(np.diff(self._bounds) < LONGEST_BLANK)
        blank = [line for line in short.tolist() if is_blank(self._line(line))]
        return np.delete(np.arange(len(self._bounds) - 1), blank) if blank else None


def without_ends(line: bytes, first: bool) -> bytes:
    """A line without its end, and the first of a file without the byte order mark."""
    line = line.rstrip(b"\r\n")
    return line.removeprefix(BOM) if first else line


def is_blank(line: bytes) -> bool:
    """Whether a line is left out. One of many spaces is not: it is a bad record."""
    return len(line) < LONGEST_BLANK and not line.strip()


def _hashed(chunks: Iterable[bytes], content) -> Iterator[bytes]:
    """The chunks, each added to the hash."""
    for chunk in chunks:
        content.update(chunk)
        yield chunk


def line_bounds(chunks: Iterable[bytes]) -> np.ndarray:
    """Where each line begins, and the end of the last: int64 [lines + 1]."""
    bounds, size = [np.zeros(1, np.int64)], 0
    for chunk in chunks:
        bounds.append(np.flatnonzero(np.frombuffer(chunk, np.uint8) == ord("\n")) + (size + 1))
        size += len(chunk)
    joined = np.concatenate(bounds)
    return joined if joined[-1] == size else np.append(joined, size)


def first_line(path: Path) -> bytes:
    """The first line of a file, at most a chunk of it; empty where it is no gzip file although it is named so."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return without_ends(file.readline(CHUNK), first=True)
    except (EOFError, gzip.BadGzipFile):
        return b""
