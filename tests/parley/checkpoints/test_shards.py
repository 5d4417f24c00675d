"""Which tensors go into which file."""

from __future__ import annotations

import torch

from parley.checkpoints.shards import split


def test_a_shard_is_as_full_as_it_may_be_and_a_larger_tensor_stands_alone() -> None:
    specs = {name: (torch.float16, (count,)) for name, count in (("a", 2), ("b", 3), ("c", 99), ("d", 5), ("e", 0))}
    assert split(specs, 10) == [["a", "b"], ["c"], ["d", "e"]]


def test_a_part_without_tensors_is_one_file() -> None:
    assert split({}, 10) == [[]]
