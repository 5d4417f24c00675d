"""Lines found by their keys: the same as a dictionary would."""

from __future__ import annotations

import random

import pytest

from training.data.record_error import RecordError
from training.data.sources.keyed import KeyIndex


def index_of(*keys: str) -> KeyIndex:
    return KeyIndex((key.encode() for key in keys), len(keys))


def test_every_key_is_found_where_it_is():
    keys = [f"utt-{i}" for i in random.Random(0).sample(range(10_000), 1000)]
    index = index_of(*keys)
    assert [index.find(key.encode()) for key in keys] == list(range(1000))
    assert index.find(b"other") is None and index_of().find(b"utt-1") is None


def test_a_key_that_is_there_twice_is_a_bad_record():
    index = index_of("a", "b", "a")
    assert index.find(b"b") == 1
    with pytest.raises(RecordError, match="two entries of a"):
        index.find(b"a")


def test_keys_that_another_index_lacks():
    index = index_of("d", "a", "c", "b", "e")
    assert index.without(index_of("c", "x", "a")).tolist() == [0, 3, 4]
    assert index.without(index_of()).tolist() == [0, 1, 2, 3, 4] and index_of().without(index).tolist() == []
