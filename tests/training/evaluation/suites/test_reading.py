"""Which records a suite measures."""

from __future__ import annotations

from training.evaluation.suites.reading import chosen


def test_some_records_are_at_even_distances():
    assert list(chosen(10, 4)) == [0, 2, 5, 7]
    assert list(chosen(3, 4)) == list(chosen(3, None)) == [0, 1, 2]
