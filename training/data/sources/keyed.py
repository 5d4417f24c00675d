"""Finds a line by its key: 12 bytes a line in memory, not the keys."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np

from training.data.records import RecordError


class KeyIndex:
    """Where each key is. Keys are told apart by 64-bit hashes."""

    def __init__(self, keys: Iterable[bytes]) -> None:
        self.hashes = np.frombuffer(b"".join(map(_hash, keys)), np.uint64)
        self._order = np.argsort(self.hashes, kind="stable").astype(np.uint32)
        self._sorted = self.hashes[self._order]

    def find(self, key: bytes) -> int | None:
        """The index of `key`, or None. Raises `RecordError` if it is there twice."""
        wanted = np.frombuffer(_hash(key), np.uint64)[0]
        first = int(np.searchsorted(self._sorted, wanted))
        if first == len(self._sorted) or self._sorted[first] != wanted:
            return None
        if first + 1 < len(self._sorted) and self._sorted[first + 1] == wanted:
            raise RecordError("id twice", f"there are two entries of {key.decode(errors='replace')}")
        return int(self._order[first])

    def without(self, other: KeyIndex) -> np.ndarray:
        """The indices whose keys `other` does not have: int64 [n]."""
        return np.flatnonzero(~np.isin(self.hashes, other.hashes))


def _hash(key: bytes) -> bytes:
    return blake2b(key, digest_size=8).digest()
