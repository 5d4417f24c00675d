"""lmms-eval against a running stack; it is in an environment of its own, so most runs of the tests leave this out."""

from __future__ import annotations

import json

import pytest

from benchmarks import harness


@pytest.mark.skipif(not harness.PYTHON.exists(), reason="no lmms-eval: `make lmms-eval`")
def test_all_tasks_are_asked_and_answered(stack, tmp_path):
    with pytest.raises(SystemExit) as ended:
        harness.main(["--address", stack.state.http, "--limit", "2", "--out", str(tmp_path)])
    assert ended.value.code == 0
    assert [(row["task"], row["asked"], row["failed"]) for row in harness.scores(tmp_path)] == [
        (harness.PICTURES, 2, 0),
        (harness.VIDEOS, 2, 0),
        (harness.SPOKEN, 2, 0),
    ]
    lines = [json.loads(line) for file in tmp_path.rglob("*_samples_*.jsonl") for line in file.open()]
    assert all(line["filtered_resps"].strip() for line in lines)
