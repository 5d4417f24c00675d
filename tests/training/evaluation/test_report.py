"""The report of a run, and the figures that README.md shows."""

from __future__ import annotations

import json
from pathlib import Path

from parley.checkpoints import save_stage
from training.evaluation.report import EVALUATION, evaluation_lines, write_report
from training.evaluation.table import Measure

ROOT = Path(__file__).parents[3]


def test_the_report_tells_stages_and_figures(tiny_config, tmp_path):
    metrics = {"small_talk": 98.5, "seconds": 120.0, "steps": 7, "device": "CPU, 1 thread"}
    save_stage(
        tmp_path / "0.1",
        stage="0.1",
        config=tiny_config,
        parts={},
        data={"samples": {"small_talk": 112}},
        metrics=metrics,
    )
    (tmp_path / EVALUATION).write_text(json.dumps({"rows": [Measure("video", 91.0, 200, 90.0, chance=25.0).record()]}))
    text = write_report(tmp_path).read_text()
    for expected in (
        "0.1 language pretraining",
        "small_talk 98.5",
        "2.0",
        "CPU, 1 thread",
        "small_talk 112",
        "video | 91.0",
        "met",
    ):
        assert expected in text


def test_the_readme_shows_what_was_measured():
    """The figures in README.md are those beside the shipped weights, as the report tells them."""
    rows = [line for line in evaluation_lines(ROOT / "checkpoints/nano" / EVALUATION) if line.startswith("|")]
    assert "\n".join(rows) in (ROOT / "README.md").read_text()
