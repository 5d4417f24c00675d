"""Where each record of a JSON file begins and ends, from one pass over its bytes.

Notable points:
- Nothing is parsed, and a block is in memory at a time: 8 bytes a record are kept.
- A record that is not JSON is for its reader to refuse. Only a list whose brackets do not match has no index.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from io import FileIO
from pathlib import Path

import numpy as np

BLOCK = 4 << 20  # bytes read at once
HEAD = 1 << 20  # bytes in which the first character must be
BOM = b"\xef\xbb\xbf"
NOT_TEXT = {b"\x1f\x8b": "gzip", b"PK": "a zip archive", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
QUOTE, BACKSLASH, COMMA, NEWLINE = b'"\\,\n'
SPACE = np.zeros(256, bool)  # byte → whether it is white space
SPACE[list(b" \t\r\n\v\f")] = True
STEP = np.zeros(256, np.int8)  # byte → change of depth
STEP[list(b"[{")], STEP[list(b"]}")] = 1, -1
MARK = STEP != 0  # byte → whether it is a bracket or a comma
MARK[COMMA] = True


@dataclass(frozen=True)
class JsonIndex:
    """Record i of a file is its bytes from `bounds[i] + 1` up to `bounds[i + 1]`."""

    bounds: np.ndarray  # int64 [records + 1]
    blank: np.ndarray  # int64 [blank lines]: how many records stand before each
    is_list: bool
    fingerprint: str  # of the whole content

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def line(self, index: int) -> int:
        """The line of a record in a file of JSON lines, from 1."""
        return index + 1 + int(np.searchsorted(self.blank, index, side="right"))


def index_json(path: Path) -> JsonIndex:
    """The index of a JSON list or of JSON lines, told apart by the first character.

    Raises `ValueError` for a file that is packed or no UTF-8 text, has no records, or is a list that does not end.
    """
    digest = blake2b(digest_size=16)
    with path.open("rb", buffering=0) as file:
        first, character = _first_character(path, file)
        file.seek(first)
        is_list = character == b"["
        bounds, blank = _list_bounds(path, file, digest) if is_list else _line_bounds(file, digest)
    if len(bounds) < 2:
        raise ValueError(f"{path} has no records")
    return JsonIndex(bounds, blank, is_list, digest.hexdigest())


def _first_character(path: Path, file: FileIO) -> tuple[int, bytes]:
    """Where the records begin, and the first character that is not white space. Raises `ValueError`."""
    head = file.read(HEAD)
    for magic, name in NOT_TEXT.items():
        if head.startswith(magic):
            raise ValueError(f"{path} is {name}; records must be plain JSON in UTF-8")
    first = len(BOM) if head.startswith(BOM) else 0
    text = head[first:].lstrip()
    if not text:
        raise ValueError(f"{path} is empty; write a JSON list of records, or one record a line")
    if text[:1] == b"{" and text.split(b"\n", 1)[0].strip() == b"{":
        raise ValueError(f"{path} is one JSON object over several lines; write a JSON list, or one record a line")
    return (first if text[:1] != b"[" else len(head) - len(text)), text[:1]


def _line_bounds(file: FileIO, digest) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of the lines that are not blank, and where blank ones are."""
    bounds, blanks, records = [np.array([file.tell() - 1])], [np.array([], np.int64)], 0
    for offset, block in _whole_lines(file, digest):
        data = np.frombuffer(block, np.uint8)
        ends = np.flatnonzero(data == NEWLINE)
        if data[-1] != NEWLINE:
            ends = np.append(ends, len(data))
        starts = np.concatenate([[0], ends[:-1] + 1])
        blank = np.zeros(len(ends), bool)
        for line in np.flatnonzero(SPACE[data[starts]]):
            blank[line] = not block[starts[line] : ends[line]].strip()
        before = records + np.cumsum(~blank)
        bounds.append(offset + ends[~blank])
        blanks.append(before[blank])
        records = int(before[-1])
    return np.concatenate(bounds), np.concatenate(blanks)


def _whole_lines(file: FileIO, digest) -> Iterator[tuple[int, bytes]]:
    """(offset, block) pairs; every block but the last ends with a line."""
    offset, rest = file.tell(), b""
    while data := file.read(max(BLOCK, len(rest))):  # more each time where a line is longer than a block
        digest.update(data)
        block = rest + data
        end = block.rfind(b"\n") + 1
        if end:
            yield offset, block[:end]
        offset, rest = offset + end, block[end:]
    if rest:
        yield offset, rest


def _list_bounds(path: Path, file: FileIO, digest) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of the elements of a list: its first bracket, the commas between them, its last bracket."""
    scan, bounds = _ListScan(), [np.array([file.tell()])]
    for offset, block in _whole_escapes(file, digest):
        rest = block
        if not scan.ended:
            found, rest = scan.bounds(block)
            bounds.append(offset + found)
        if rest.strip():
            at = offset + len(block) - len(rest)
            raise ValueError(f"{path}: the JSON list ends at byte {at}, but text follows; is there a bracket too many?")
    bounds = np.concatenate(bounds)
    if not scan.ended:
        raise ValueError(
            f"{path}: the JSON list does not end: record {len(bounds) - 1}, from byte {bounds[-1] + 1}, is the last "
            "that begins; is the file cut short, or is a bracket or quote missing there?"
        )
    file.seek(bounds[0] + 1)
    if len(bounds) == 2 and not file.read(bounds[1] - bounds[0] - 1).strip():
        bounds = bounds[:1]
    return bounds, np.array([], np.int64)


def _whole_escapes(file: FileIO, digest) -> Iterator[tuple[int, bytes]]:
    """(offset, block) pairs; no block ends between a backslash and the character that it escapes."""
    offset, rest = file.tell(), b""
    while data := file.read(BLOCK):
        digest.update(data)
        block = rest + data
        end = len(block) - (len(block) - len(block.rstrip(b"\\"))) % 2
        yield offset, block[:end]
        offset, rest = offset + end, block[end:]


class _ListScan:
    """Follows brackets and quotes from block to block."""

    def __init__(self) -> None:
        self.depth, self.inside, self.ended = 0, False, False  # `inside`: of a string

    def bounds(self, block: bytes) -> tuple[np.ndarray, bytes]:
        """Where an element of the list ends in this block, and what follows the list."""
        data = np.frombuffer(block, np.uint8)
        quotes = _quotes(data)
        marks = np.flatnonzero(MARK[data])
        marks = marks[(np.searchsorted(quotes, marks) + self.inside) % 2 == 0]
        self.inside ^= len(quotes) % 2 == 1
        depths = self.depth + np.cumsum(STEP[data[marks]], dtype=np.int64)
        last = np.flatnonzero(depths == 0)[:1]
        self.ended = len(last) == 1
        ends = marks[(depths == 1) & (data[marks] == COMMA)]
        if self.ended:
            end = marks[last[0]]
            return np.append(ends[ends < end], end), block[end + 1 :]
        self.depth = int(depths[-1]) if len(depths) else self.depth
        return ends, b""


def _quotes(data: np.ndarray) -> np.ndarray:
    """Positions of the quotes that begin or end a string: an even number of backslashes stands before them."""
    quotes = np.flatnonzero(data == QUOTE)
    doubtful = quotes[(quotes > 0) & (data[quotes - 1] == BACKSLASH)]
    if not len(doubtful):
        return quotes
    slashes = np.flatnonzero(data == BACKSLASH)
    begins = np.append(True, np.diff(slashes) != 1)  # whether a backslash is the first of its run
    first = np.maximum.accumulate(np.where(begins, slashes, 0))
    run = doubtful - first[np.searchsorted(slashes, doubtful - 1)]
    return np.setdiff1d(quotes, doubtful[run % 2 == 1], assume_unique=True)
