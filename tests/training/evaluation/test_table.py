"""Measures: when a bar is met, and the table."""

from __future__ import annotations

import json

from training.evaluation.table import Measure, table


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
    assert table([Measure("loss", 0.0421, 9, digits=3).record()]).split()[-2:] == ["0.042", "9"]
