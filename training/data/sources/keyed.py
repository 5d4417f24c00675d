"""Finds a line by its key: 12 bytes a line in memory, not the keys."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np

from training.data.records import RecordError


class KeyIndex:
    """Where each key is. Keys are told apart by 64-bit hashes."""

    def __init__(self, keys: Iterable[bytes], count: int) -> None:
        hashes = np.fromiter(map(_hash, keys), np.uint64, count)
        self._order = np.argsort(hashes, kind="stable").astype(np.uint32)
        self._sorted = hashes[self._order]

    def find(self, key: bytes) -> int | None:
        """The index of `key`, or None. Raises `RecordError` if it is there twice."""
        wanted = _hash(key)
        first = self._sorted.searchsorted(np.uint64(wanted))
        found = self._sorted[first : first + 2].tolist()
        if found == [wanted, wanted]:
            raise RecordError("id twice", f"there are two entries of {key.decode(errors='replace')}")
        return int(self._order[first]) if found and found[0] == wanted else None

    def without(self, other: KeyIndex) -> np.ndarray:
        """The indices whose keys `other` does not have, in order: uint32 [n]."""
        if not len(other._sorted):
            return np.sort(self._order)
        place = np.minimum(other._sorted.searchsorted(self._sorted), len(other._sorted) - 1)
        return np.sort(self._order[other._sorted[place] != self._sorted])


def _hash(key: bytes) -> int:
    return int.from_bytes(blake2b(key, digest_size=8).digest(), "little")
