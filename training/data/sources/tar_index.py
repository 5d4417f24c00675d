"""Where each sample of a WebDataset is: neighbours in a tar whose names are the same up to the first dot."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from training.data.sources.lines import BAR_DELAY, PlainBytes
from training.data.sources.shards import sampled
from training.data.sources.tar_members import Member, members


class Place(NamedTuple):
    """Where a sample is; bytes of a tar."""

    path: Path
    start: int
    end: int


class TarIndex:
    """The samples of tars in order, 16 bytes a sample.

    `fingerprint` is of all headers, so of every name and size, and of samples of the content (`shards.sampled`). Raises
    `ValueError` for a file that is no tar.
    """

    def __init__(self, paths: list[Path]) -> None:
        self.paths, starts, ends, counts = paths, array("q"), array("q"), []
        names = blake2b(sampled(paths).encode(), digest_size=16)
        for path in tqdm(paths, desc="index tars", delay=BAR_DELAY, disable=None):
            before = ""
            for key, member in keyed(path):
                names.update(f"{member.name}\0{member.size}\0".encode())
                if key == before:
                    ends[-1] = member.end
                else:
                    starts.append(member.start)
                    ends.append(member.end)
                before = key
            counts.append(len(starts))
        self._starts, self._ends, self._counts = np.array(starts), np.array(ends), np.array(counts)
        self.fingerprint = names.hexdigest()

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> Place:
        if not 0 <= index < len(self):
            raise IndexError(f"there are {len(self)} samples, not a sample {index}")
        path = self.paths[int(np.searchsorted(self._counts, index, side="right"))]
        return Place(path, int(self._starts[index]), int(self._ends[index]))


def keyed(path: Path) -> Iterator[tuple[str, Member]]:
    """(key, file) for each file in a tar that belongs to a sample. Raises `ValueError`, with the tar's name."""
    try:
        for member in members(PlainBytes(path).read, 0, path.stat().st_size):
            if key := key_of(member.name):
                yield key, member
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def key_of(name: str) -> str:
    """The name up to the first dot behind the folder; "" for what is no part of a sample."""
    folder, slash, base = name.rpartition("/")
    stem, dot, _ = base.partition(".")
    return folder + slash + stem if stem and dot else ""
