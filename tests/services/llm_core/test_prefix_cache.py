"""The KV cache of idle sessions."""

from __future__ import annotations

import torch

from services.llm_core.prefix_cache import PrefixCache


def test_the_cache_keeps_the_newest_within_its_memory():
    cache = PrefixCache(max_bytes=100)
    for number in range(4):
        cache.put(f"s{number}", [number], torch.zeros(40, dtype=torch.uint8))
    assert (len(cache), cache.bytes) == (2, 80)
    assert cache.take("s1") is None
    keys, saved = cache.take("s2")
    assert keys == [2] and len(saved) == 40 and cache.bytes == 40
    cache.put("s3", [9], torch.zeros(100, dtype=torch.uint8))
    assert (len(cache), cache.bytes) == (1, 100)
    assert not cache.fits(101)


def test_what_is_reserved_comes_before_what_sessions_keep():
    cache = PrefixCache(max_bytes=100)
    for number in range(2):
        cache.put(f"s{number}", [number], torch.zeros(40, dtype=torch.uint8))
    cache.reserve(50)
    assert (len(cache), cache.bytes, cache.reserved) == (1, 40, 50)
    assert cache.fits(50) and not cache.fits(51)
    cache.reserve(50)
    assert len(cache) == 0 and not cache.fits(1)
    cache.release(50)
    assert cache.fits(50)
