"""Packing: every sample is in one pass, passes keep to their budget, and a label belongs to the position before it."""

from __future__ import annotations

import random

import pytest

from training.data.packing import IGNORED, Segments, shifted, split_by_budget, split_padded


def make_sizes(count: int, seed: int = 0) -> list[int]:
    rng = random.Random(seed)
    return [rng.choice([rng.randint(1, 40), rng.randint(1, 400)]) for _ in range(count)]


@pytest.mark.parametrize("split", [split_by_budget, split_padded])
@pytest.mark.parametrize("count", [0, 1, 7, 200])
def test_every_sample_is_in_one_pass(split, count):
    passes = split(make_sizes(count), 500)
    assert sorted(number for one in passes for number in one) == list(range(count))
    assert all(passes)


@pytest.mark.parametrize("seed", range(5))
def test_passes_keep_to_the_budget(seed):
    sizes = make_sizes(100, seed)
    assert max(sum(sizes[i] for i in one) for one in split_by_budget(sizes, 500)) <= 500
    assert max(len(one) * max(sizes[i] for i in one) for one in split_padded(sizes, 500)) <= 500


@pytest.mark.parametrize("split", [split_by_budget, split_padded])
def test_a_sample_larger_than_the_budget_has_its_own_pass(split):
    passes = split([10, 900, 20, 700], 500)
    assert [1] in passes and [3] in passes
    assert len(passes) == 3


@pytest.mark.parametrize("seed", range(5))
def test_passes_are_filled_well(seed):
    """First fit with the longest first needs at most 11/9 of the fewest passes, and one more."""
    sizes = make_sizes(300, seed)
    fewest = -(-sum(sizes) // 1000)
    assert len(split_by_budget(sizes, 1000)) <= fewest * 11 / 9 + 1
    assert len(split_by_budget([60, 60, 60, 60, 40, 40, 40, 40], 100)) == 4


@pytest.mark.parametrize("seed", range(5))
def test_little_is_padded(seed):
    sizes = make_sizes(300, seed)
    padded = sum(len(one) * max(sizes[i] for i in one) for one in split_padded(sizes, 2000))
    assert padded <= 1.25 * sum(sizes)


def test_the_longest_samples_come_first_and_equal_ones_in_order():
    """The first pass needs the most memory: if there is too little, that is seen at once."""
    assert split_by_budget([3, 9, 3, 9], 9) == [[1], [3], [0, 2]]
    assert split_padded([3, 9, 3, 9], 18) == [[1, 3], [0, 2]]


def test_segments_begin_where_the_one_before_ends():
    segments = Segments.of([3, 1, 5])
    assert segments.offsets.tolist() == [0, 3, 4, 9] and segments.longest == 5
    assert str(segments.offsets.dtype) == "torch.int32"  # as the kernel wants them


def test_a_label_belongs_to_the_position_before_it():
    assert shifted([IGNORED, 7, 8]) == [7, 8, IGNORED]
    assert shifted([7, 8, 9]) == [8, 9, IGNORED]  # nothing stands before the first id
