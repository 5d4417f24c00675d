"""Measures: when a bar is met, and the table."""

from __future__ import annotations

import json

import pytest

from training.evaluation.table import Measure, over_seeds, table


def test_a_bar_is_met_from_its_own_side():
    assert Measure("right", 95.0, 1, 95.0).ok
    assert not Measure("right", 94.9, 1, 95.0).ok
    assert Measure("wrong words", 3.0, 1, 3.0, at_most=True).ok
    assert not Measure("wrong words", 3.1, 1, 3.0, at_most=True).ok
    assert Measure("no bar", 3.1, 1).ok is None


def test_records_are_json_and_a_table():
    measures = [Measure("video", 91.04, 200, 90.0, chance=25.0), Measure("words", 7.0, 9, 6.0, at_most=True)]
    records = [measure.record() for measure in measures]
    assert json.loads(json.dumps(records)) == records
    lines = table(records).splitlines()
    assert lines[1].split() == ["video", "91.0", "90", "25", "200", "met"]
    assert lines[2].split() == ["words", "7.0", "6", "9", "missed"]
    assert "±" not in "".join(lines)
    assert table([Measure("loss", 0.0421, 9, digits=3).record()]).split()[-2:] == ["0.042", "9"]


def test_a_row_is_its_mean_over_seeds_with_half_of_their_range():
    by_seed = [
        [Measure("all", 80.0, 3, 90.0, empty=1), Measure("· one", 100.0, 2)],
        [Measure("all", 100.0, 3, 90.0, empty=0), Measure("· other", 50.0, 4), Measure("· one", 0.0, 2)],
        [Measure("all", 93.0, 3, 90.0, empty=2), Measure("· one", 50.0, 2)],
    ]
    row, other, one = over_seeds(by_seed)  # the one that the first seed lacks stands behind the row, as in the second
    assert (row.name, row.value, row.spread, row.n, row.ok, row.empty) == ("all", 91.0, 10.0, 9, True, 3)
    assert row.record()["by_seed"] == [80.0, 100.0, 93.0] and row.record()["spread"] == 10.0
    assert (one.name, one.value, one.spread, one.n) == ("· one", pytest.approx(50), 50.0, 6)
    assert (other.name, other.value, other.spread, other.n) == ("· other", 50.0, None, 4)
    assert "91.0 ± 10.0" in table([row.record()])
