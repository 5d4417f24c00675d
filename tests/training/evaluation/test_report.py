"""The report of a run, and the figures that README.md shows."""

from __future__ import annotations

import json
import shutil
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
        "small_talk 112 | not recorded |",
        "video | 91.0",
        "met",
    ):
        assert expected in text


def test_figures_have_their_spread_and_the_side_of_their_bar(tmp_path):
    rows = [
        Measure("right", 91.0, 6, 90.0, by_seed=(90.0, 91.5, 91.5)).record(),
        Measure("empty", 0, 6, 0.0, at_most=True, digits=0).record(),
        {"name": "older", "value": 0.4, "bar": 3.0, "n": 6, "ok": True, "chance": None},  # of before there were seeds
    ]
    (tmp_path / EVALUATION).write_text(json.dumps({"rows": rows}))
    assert evaluation_lines(tmp_path / EVALUATION)[4:7] == [
        "| right | 91.0 ± 0.8 | ≥ 90 | – | 6 | met |",
        "| empty | 0 | ≤ 0 | – | 6 | met |",
        "| older | 0.4 | ≤ 3 | – | 6 | met |",
    ]


def builds_on(run: Path) -> dict[str, str]:
    """Stage → what the report says that it builds on."""
    rows = [line.split(" | ") for line in write_report(run).read_text().splitlines() if line.startswith("| ")]
    return {row[0].split()[1]: row[2] for row in rows if row[0].split()[1][0].isdigit() and len(row) == 6}


def test_a_stage_builds_on_what_it_was_built_from(tiny_config, tmp_path):
    def save(path: str, parent: str | None = None, *others: str) -> None:
        sources = [tmp_path / other for other in others]
        start = tmp_path / parent if parent else None
        save_stage(
            tmp_path / path, stage=path.split("/")[-1], config=tiny_config, parts={}, parent=start, others=sources
        )

    save("weights/imported")
    save("run/1.1", "weights/imported")  # by the table: 0.1, 0.2
    save("run/1.3", "run/1.1")  # by the table: 1.2
    save("run/2.1a")
    save("run/2.1b", "run/1.3", "run/2.1a")
    expected = {"1.1": "imported (../../weights/imported)", "1.3": "1.1", "2.1a": "–", "2.1b": "1.3, 2.1a"}
    assert builds_on(tmp_path / "run") == expected
    shutil.rmtree(tmp_path / "weights")
    assert builds_on(tmp_path / "run") == expected


def test_the_readme_shows_what_was_measured():
    """The figures in README.md are those beside the shipped weights, as the report tells them."""
    rows = [line for line in evaluation_lines(ROOT / "checkpoints/nano" / EVALUATION) if line.startswith("|")]
    assert "\n".join(rows) in (ROOT / "README.md").read_text()
