"""Embeddings by reference, bounded in bytes."""

from __future__ import annotations

import pytest
import torch

from services.llm_core.encoder_cache import EncoderCache
from services.llm_core.pieces import EmbeddingRef, Piece


def ref(name: str, length: int = 5) -> EmbeddingRef:
    return EmbeddingRef("w", name, length)


def piece(length: int = 5) -> Piece:
    """40 bytes where there are five embeddings."""
    return Piece([-1] * length, torch.zeros(length, 2))


def test_the_least_recently_used_is_dropped():
    cache, kept = EncoderCache(max_bytes=100), piece()
    cache.put(ref("a"), kept)
    cache.put(ref("b"), piece())
    assert cache.get(ref("a")) is kept
    cache.put(ref("c"), piece())
    assert cache.get(ref("b")) is None
    assert cache.get(ref("a")) is kept and cache.get(ref("c")) is not None
    assert (len(cache), cache.bytes) == (2, 80)


def test_what_is_put_again_replaces_and_what_is_too_large_is_not_kept():
    cache = EncoderCache(max_bytes=100)
    cache.put(ref("a"), piece())
    newer = piece()
    cache.put(ref("a"), newer)
    assert cache.get(ref("a")) is newer and cache.bytes == 40
    cache.put(ref("b", 13), piece(13))
    assert cache.get(ref("b", 13)) is None and cache.get(ref("a")) is newer


def test_weights_are_part_of_the_name_and_the_length_is_checked():
    cache = EncoderCache(max_bytes=100)
    cache.put(ref("a"), piece())
    assert cache.get(EmbeddingRef("other", "a", 5)) is None
    with pytest.raises(ValueError, match="states 4 embeddings, but there are 5"):
        cache.get(ref("a", 4))
