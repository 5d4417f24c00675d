"""Which content is held out, and random generators from names: both are hashes, the same in every run."""

from __future__ import annotations

import random
from functools import lru_cache
from hashlib import blake2b

from training.data.world.vocabulary import one_spelling

SPLITS = ("train", "heldout")
HELD_SHARE = 0.15  # of the scenes and of the sentences


def digest(*names: object) -> int:
    """A 64-bit integer that depends only on what the names say."""
    return int.from_bytes(blake2b("\x1f".join(map(str, names)).encode(), digest_size=8).digest(), "little")


def generator(*names: object) -> random.Random:
    """A random generator that depends only on the names (a seed, a split, a kind of sample, an index)."""
    return random.Random(digest(*names))


@lru_cache(maxsize=1 << 17)
def held_out(content: str) -> bool:
    """Whether a sentence or a scene, written as a string, is never trained on. The same for every seed, and for both
    spellings of a sentence."""
    return digest("held out", one_spelling(content)) % 10_000 < HELD_SHARE * 10_000


def belongs(content: str, split: str) -> bool:
    """Whether the content may be used in this split."""
    return held_out(content) == (split == "heldout")


def check_split(split: str) -> str:
    """The split itself. Raises `ValueError` if there is none of that name."""
    if split not in SPLITS:
        raise ValueError(f"no split {split!r}; there are: {', '.join(SPLITS)}")
    return split
