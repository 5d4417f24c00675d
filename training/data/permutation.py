"""Shuffled orders that are computed and not kept: where a place of range(size) goes, one at a time or many.

A Feistel network on as many bits as the size needs is a permutation of more numbers than that. A place that it sends
out of range goes through it again until it is in range ("cycle walking": Black and Rogaway 2002), so every place of the
range is met exactly once.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TypeVar

import numpy as np

ROUNDS = 6
SMALLEST_HALF = 3  # bits; with fewer, small sizes have few different orders
LOW_32 = 0xFFFFFFFF

Number = TypeVar("Number", int, np.ndarray)  # one, or int64 [n]


def permuted(place: int, size: int, key: int, turn: int) -> int:
    """Where `place` of range(size) goes in permutation number `turn` of the 32-bit `key`."""
    half = _half(size)
    found = _network(place, half, key, turn)
    while found >= size:
        found = _network(found, half, key, turn)
    return found


def permuted_all(places: np.ndarray, size: int, key: int, turn: int) -> np.ndarray:
    """The same for many places: int64 [n] → int64 [n]."""
    half = _half(size)
    found = _network(places, half, key, turn)
    while (outside := found >= size).any():
        found[outside] = _network(found[outside], half, key, turn)
    return found


def _half(size: int) -> int:
    """Bits of each half of the network, which together count to `size`."""
    return max(SMALLEST_HALF, ((size - 1).bit_length() + 1) // 2)


def _network(values: Number, half: int, key: int, turn: int) -> Number:
    """A permutation of the numbers of 2 × `half` bits."""
    mask = (1 << half) - 1
    left, right = values >> half, values & mask
    round_key = mix_bits((key + turn) & LOW_32)
    for _ in range(ROUNDS):
        round_key = mix_bits((round_key + 0x9E3779B9) & LOW_32)
        left, right = right, left ^ (mix_bits((right ^ round_key) & LOW_32) & mask)
    return left << half | right


def mix_bits(values: Number) -> Number:
    """32-bit numbers with their bits mixed: `lowbias32` of https://nullprogram.com/blog/2018/07/31/."""
    values = (values ^ values >> 16) * 0x7FEB352D & LOW_32
    values = (values ^ values >> 15) * 0x846CA68B & LOW_32
    return values ^ values >> 16


def key_of(*names: object) -> int:
    """A 32-bit number that depends on what the names say alone."""
    return int.from_bytes(blake2b("\x1f".join(map(str, names)).encode(), digest_size=4).digest(), "little")
