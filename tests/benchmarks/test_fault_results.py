"""Rows of a fault test, over several runs of its program."""

import json

from benchmarks.fault_results import Results


def test_rows_are_kept_between_the_steps_and_replaced(tmp_path):
    path, key = tmp_path / "results" / "faults.json", ("killed", "replicas")
    Results(path, key).add(rows=[])
    Results(path, key).add_row({"killed": "head", "replicas": 1, "worst": 9.0})
    Results(path, key).add_row({"killed": "head", "replicas": 2, "worst": 2.0})
    Results(path, key).add_row({"killed": "head", "replicas": 1, "worst": 1.0})
    assert [(row["replicas"], row["worst"]) for row in json.loads(path.read_text())["rows"]] == [(2, 2.0), (1, 1.0)]
