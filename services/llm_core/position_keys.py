"""A key for each embedding of a prompt, made of its content: equal embeddings have equal keys, however they came."""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F

MULTIPLIER = -7046029254386353131  # odd, its bits evenly mixed
LOW_HALF = (1 << 32) - 1
LARGEST = (1 << 63) - 1
BLOCK = 64  # embeddings hashed at once, so that what is between stays in the CPU's cache


def position_keys(embeddings: torch.Tensor) -> list[int]:
    """A negative key for each embedding. embeddings: [length, width] on the CPU.

    A multilinear hash: each embedding is a row of 64-bit words, each word is multiplied by an odd number of its own and
    the products are added. The words are mixed before, because changes of two words' highest bits would cancel.
    """
    return [key for block in embeddings.split(BLOCK) for key in _keys_of_block(block)] if len(embeddings) else []


def _keys_of_block(embeddings: torch.Tensor) -> list[int]:
    data = embeddings.contiguous().view(torch.uint8)
    words = F.pad(data, (0, -data.shape[-1] % 8)).view(torch.int64)
    mixed = words * MULTIPLIER
    mixed ^= (mixed >> 32) & LOW_HALF
    mixed *= _coefficients(mixed.shape[-1])
    return (-1 - ((mixed.sum(-1) >> 1) & LARGEST)).tolist()


@functools.lru_cache(maxsize=8)
def _coefficients(count: int) -> torch.Tensor:
    """Fixed random odd numbers: int64 [count]."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(-(1 << 63), LARGEST, (count,), generator=generator) | 1
