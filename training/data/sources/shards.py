"""Data in several files: which ones they are, and a fingerprint that does not read all of them."""

from __future__ import annotations

import glob
import itertools
import math
import re
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path

PIECES, PIECE = 16, 1 << 16  # of a large file that are hashed, and bytes of each
BRACES = re.compile(r"\{([^{}]*)\}")
RANGE = re.compile(r"(\d+)\.\.(\d+)")
MOST = 1_000_000  # files of a pattern


def shards(path: Path, suffix: str) -> list[Path]:
    """The files of one suffix that `path` stands for, sorted: a file, a folder and what is below it, or a pattern.

    Patterns have `*`, `?`, `[…]`, `{a,b}` and `{000..123}`. Raises `ValueError` where one stands for no file.
    """
    if path.is_file():
        return [path]
    if path.is_dir():
        found = sorted(file for file in path.rglob(f"*{suffix}") if not is_hidden(file.relative_to(path)))
        if not found:
            raise ValueError(f"there is no {suffix} file in {path}")
        return found
    found = [file for pattern in expanded(str(path)) for file in matching(pattern)]
    if not found:
        raise ValueError(f"{path} stands for no file: the second number of a range is not below the first")
    return list(dict.fromkeys(found))


def is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def expanded(pattern: str) -> list[str]:
    """A pattern with braces as patterns without. Raises `ValueError` for one of more than `MOST`."""
    pieces = BRACES.split(pattern)
    choices = [[piece] if number % 2 == 0 else alternatives(piece) for number, piece in enumerate(pieces)]
    if math.prod(map(len, choices)) > MOST:
        raise ValueError(f"{pattern} stands for more than {MOST:,} files; name a smaller range")
    return ["".join(choice) for choice in itertools.product(*choices)]


def alternatives(inside: str) -> list[str]:
    """What is between braces as a list: "1,2", or "08..10" with its zeros. At most one more than `MOST`."""
    ends = RANGE.fullmatch(inside)
    if not ends:
        return inside.split(",")
    first, last = ends.groups()
    numbers = itertools.islice(range(int(first), int(last) + 1), MOST + 1)
    return [str(number).zfill(len(first)) for number in numbers]


def matching(pattern: str) -> list[Path]:
    """The files of a pattern without braces, below the folder of it that is there: brackets of that are no pattern."""
    path = Path(pattern)
    if path.exists():
        return [path]
    base = next(folder for folder in path.parents if folder.exists())
    found = sorted(base / name for name in glob.glob(str(path.relative_to(base)), root_dir=base, recursive=True))
    if not found:
        raise ValueError(f"there is no file {pattern}")
    return found


def sampled(paths: Iterable[Path]) -> str:
    """A fingerprint of files by their names, sizes, beginnings and ends, and samples of what is between.

    It is of all content of a file up to 1 MiB (16 pieces of 64 KiB). In a larger one it catches another header, footer
    or length, and a change between these only where a piece is.
    """
    digest = blake2b(digest_size=16)
    for path in paths:
        size = path.stat().st_size
        digest.update(f"{path.name}\0{size}\0".encode())
        with path.open("rb") as file:
            for piece in range(PIECES):
                file.seek(max(0, size - PIECE) * piece // (PIECES - 1) if size > PIECES * PIECE else piece * PIECE)
                digest.update(file.read(PIECE))
    return digest.hexdigest()
