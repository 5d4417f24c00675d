"""Random numbers that follow from words alone: the same for the same seed and record, whatever was drawn before."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np


def draws(*words: str | int) -> np.random.Generator:
    """A generator for these words: the seed, what is drawn, which record."""
    digest = blake2b("\0".join(map(str, words)).encode(errors="replace"), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))
