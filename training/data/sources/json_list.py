"""The elements of a JSON list by index: a process holds where they begin, not the elements.

Notable points:
- Nothing is parsed, and a block is in memory at a time: 8 bytes an element are kept.
- An element that is not JSON is for its reader to refuse. Only a list whose brackets do not match has no index.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import blake2b
from pathlib import Path

import numpy as np

from training.data.sources.lines import PlainBytes

QUOTE, BACKSLASH, COMMA = b'"\\,'
STEP = np.zeros(256, np.int8)  # byte → change of depth
STEP[list(b"[{")], STEP[list(b"]}")] = 1, -1
MARK = STEP != 0  # byte → whether it is a bracket or a comma
MARK[COMMA] = True


class JsonList:
    """The elements of the list in a file, as bytes with the white space around them.

    Raises `ValueError` if the list does not end, or if text follows it.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._bytes = path, PlainBytes(path)
        content = blake2b(digest_size=16)
        self._bounds = self._find_bounds(content)  # int64 [elements + 1]: the list's brackets, and the commas between
        self.fingerprint = content.hexdigest()

    def __len__(self) -> int:
        return len(self._bounds) - 1

    def __getitem__(self, index: int) -> bytes:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.path} has {len(self)} records, not a record {index}")
        before, end = self._bounds[index : index + 2].tolist()
        return self._bytes.read(before + 1, end)

    def where(self, index: int) -> str:
        """file[index]"""
        return f"{self.path.name}[{index}]"

    def _find_bounds(self, content) -> np.ndarray:
        scan, found = ListScan(), []
        for offset, block in whole_escapes(self._bytes.chunks()):
            content.update(block)
            rest = block
            if not scan.ended:
                places, rest = scan.bounds(block)
                found.append(places + offset)
            if rest.strip():
                at = offset + len(block) - len(rest.lstrip())
                raise ValueError(
                    f"{self.path}: at byte {at}, text follows the end of the JSON list; is there a ] too many?"
                )
        bounds = np.concatenate(found)
        if not scan.ended:
            raise ValueError(
                f"{self.path}: the JSON list does not end. Its last record, {len(bounds) - 1}, begins at byte "
                f"{bounds[-1] + 1}: is the file cut short, or is a bracket or quote missing there?"
            )
        if len(bounds) == 2 and not self._bytes.read(int(bounds[0]) + 1, int(bounds[1])).strip():
            return bounds[:1]
        return bounds


def whole_escapes(chunks: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """(offset, block) pairs; no block but the last ends between a backslash and the character that it escapes."""
    offset, rest = 0, b""
    for chunk in chunks:
        block = rest + chunk
        end = len(block) - (len(block) - len(block.rstrip(b"\\"))) % 2
        yield offset, block[:end]
        offset, rest = offset + end, block[end:]
    if rest:
        yield offset, rest


class ListScan:
    """Follows brackets and quotes from block to block."""

    def __init__(self) -> None:
        self.depth, self.inside, self.ended = 0, False, False  # `inside`: of a string

    def bounds(self, block: bytes) -> tuple[np.ndarray, bytes]:
        """Where an element of the list may begin or end: int64 [n]. And what follows the list."""
        data = np.frombuffer(block, np.uint8)
        quotes = string_quotes(data)
        marks = np.flatnonzero(MARK[data])
        marks = marks[(np.searchsorted(quotes, marks) + self.inside) % 2 == 0]
        steps = STEP[data[marks]]
        depths = self.depth + np.cumsum(steps, dtype=np.int64)
        self.inside ^= len(quotes) % 2 == 1
        self.depth = int(depths[-1]) if len(depths) else self.depth
        between = (depths == 1) & (steps >= 0)  # the first bracket and the commas
        closed = np.flatnonzero(depths == 0)
        if not len(closed):
            return marks[between], b""
        self.ended, last = True, closed[0]
        between[last] = True
        return marks[: last + 1][between[: last + 1]], block[marks[last] + 1 :]


def string_quotes(data: np.ndarray) -> np.ndarray:
    """uint8 [bytes] → positions of the quotes that begin or end a string: after an even number of backslashes."""
    quotes = np.flatnonzero(data == QUOTE)
    doubtful = quotes[(quotes > 0) & (data[quotes - 1] == BACKSLASH)]
    if not len(doubtful):
        return quotes
    slashes = np.flatnonzero(data == BACKSLASH)
    begins = np.append(True, np.diff(slashes) != 1)  # whether a backslash is the first of its run
    first = np.maximum.accumulate(np.where(begins, slashes, 0))
    run = doubtful - first[np.searchsorted(slashes, doubtful - 1)]
    return np.setdiff1d(quotes, doubtful[run % 2 == 1], assume_unique=True)
