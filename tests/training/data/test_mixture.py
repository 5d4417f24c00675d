"""Mixtures: percentages hold, and a sample depends on seed and number alone."""

from __future__ import annotations

import pytest

from training.data.mixture import Mixture


def make(percentages: dict[str, float], seed: int = 0) -> Mixture:
    return Mixture(percentages, {name: lambda index, name=name: (name, index) for name in "abc"}, seed)


def test_whole_percentages_hold_in_every_hundred():
    mixture = make({"a": 35, "b": 60, "c": 5})
    for start in range(0, 1000, 100):
        drawn = [mixture.source_of(number) for number in range(start, start + 100)]
        assert (drawn.count("a"), drawn.count("b"), drawn.count("c")) == (35, 60, 5)


def test_fractions_hold_in_the_long_run():
    counts = make({"a": 0.5, "b": 33.25, "c": 66.25}).counts(10_000)
    assert abs(counts["a"] - 50) <= 2
    assert abs(counts["b"] - 3325) <= 10


def test_counts_are_what_is_drawn():
    mixture = make({"a": 35, "b": 60, "c": 5})
    drawn = [mixture[number][0] for number in range(250)]
    assert mixture.counts(250) == {name: drawn.count(name) for name in "abc"}


def test_the_order_is_the_seed_s():
    one, same, other = make({"a": 50, "b": 50}), make({"a": 50, "b": 50}), make({"a": 50, "b": 50}, seed=1)
    numbers = list(range(400))
    assert [one[n] for n in reversed(numbers)][::-1] == [same[n] for n in numbers]
    assert [one.source_of(n) for n in numbers] != [other.source_of(n) for n in numbers]


def test_percentages_must_sum_to_a_hundred():
    with pytest.raises(ValueError, match="sum to 100, not 90"):
        make({"a": 40, "b": 50})


def test_an_unknown_source_is_named():
    with pytest.raises(ValueError, match="no source z; there are: a, b, c"):
        make({"a": 50, "z": 50})
