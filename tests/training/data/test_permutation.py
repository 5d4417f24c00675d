"""Computed permutations: each is a bijection, no two are the same, one at a time is as many at once."""

from __future__ import annotations

import numpy as np
import pytest

from training.data.permutation import key_of, permuted, permuted_all


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 65, 1000, 4097, 1_000_000])
def test_every_place_is_met_once(size):
    found = permuted_all(np.arange(size), size, key_of("a"), turn=3)
    assert np.array_equal(np.sort(found), np.arange(size))


def test_one_place_is_the_same_as_in_many():
    found = permuted_all(np.arange(1000), 1000, key_of("a"), turn=7)
    assert [permuted(place, 1000, key_of("a"), 7) for place in range(1000)] == found.tolist()


def test_orders_differ_by_turn_and_key_and_look_like_chance():
    orders = [permuted_all(np.arange(10_000), 10_000, key_of(key), turn) for key in "ab" for turn in range(3)]
    together = np.corrcoef([np.arange(10_000), *orders])
    # The standard deviation of the correlation of two random orders is 1 / sqrt(10 000).
    assert np.abs(together - np.eye(len(together))).max() < 0.05
    neighbours = np.abs(np.diff(orders[0]))
    assert 0.3 < neighbours.mean() / 10_000 < 0.37  # a third, for two numbers drawn at random


def test_all_orders_of_three_are_about_as_frequent():
    seen = [tuple(permuted(place, 3, key_of("small"), turn) for place in range(3)) for turn in range(600)]
    assert len(set(seen)) == 6 and min(seen.count(order) for order in set(seen)) > 60
