"""The evaluation: every row of the issue, its count, its chance; a run, a checkpoint or nothing may be named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from parley.checkpoints import save_stage
from training.data.world.questions import PICTURE_KINDS
from training.evaluation.report import EVALUATION, evaluation_lines, write_report
from training.evaluation.runner import Row, evaluate, find_checkpoint, table

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def rows(tiny_checkpoint):
    return evaluate(tiny_checkpoint, count=2)


def test_every_measure_is_there_with_its_bar(rows):
    bars = {row["name"].split("(")[0].strip(): row["bar"] for row in rows if row["bar"] is not None}
    assert bars == {
        "picture questions, text in: mean over kinds": 95,
        "picture questions, text in: worst kind": 85,
        "picture questions, spoken: seen voices": 90,
        "picture questions, spoken: unseen voices": 80,
        "small talk, spoken": 95,
        "video: which way it moves": 90,
        "transcription WER, unseen sentences: seen voices": 3,
        "transcription WER, unseen sentences: unseen voices": 8,
        "transcription WER, unseen sentences: unseen speeds": 12,
        "state: speech / text / nothing to answer": 98,
        "codec: WER of decoded speech above the original's": 3,
        "spoken answers: WER": 6,
    }


def test_a_model_of_random_weights_fails(rows):
    judged = [row for row in rows if row["bar"] is not None]
    assert sum(row["ok"] for row in judged) <= 2
    assert all(row["n"] > 0 for row in rows)


def test_chance_is_given_where_guessing_is_possible(rows):
    chances = {row["name"]: row["chance"] for row in rows}
    assert chances["video: which way it moves"] == 25
    assert 10 < chances["picture questions, text in: mean over kinds"] < 60


def test_the_forms_of_a_kind_add_up_to_it(rows):
    kind, forms = None, {}
    for row in rows:
        if row["name"].startswith("·· "):
            forms[kind["name"]].append(row)
        elif row["name"].startswith("· "):
            kind = row
            forms[kind["name"]] = []
    assert set(forms) == {f"· {kind}" for kind in PICTURE_KINDS}
    for kind in (row for row in rows if forms.get(row["name"])):
        parts = forms[kind["name"]]
        assert len(parts) > 1
        assert sum(row["n"] for row in parts) == kind["n"]
        assert sum(row["n"] * row["value"] for row in parts) == pytest.approx(kind["n"] * kind["value"])
    assert any(forms.values())


def test_rows_are_json_and_a_table(rows):
    assert json.loads(json.dumps(rows)) == rows
    assert all(row["name"] in table(rows) for row in rows)


def test_an_evaluation_leaves_gradients_on(rows):
    assert rows and torch.is_grad_enabled()


def test_a_bar_is_met_from_its_own_side():
    assert Row("right", 95.0, 1, 95.0).ok
    assert not Row("right", 94.9, 1, 95.0).ok
    assert Row("wrong words", 3.0, 1, 3.0, at_most=True).ok
    assert not Row("wrong words", 3.1, 1, 3.0, at_most=True).ok
    assert Row("no bar", 3.1, 1).ok is None


def test_a_run_is_its_last_stage(tiny_config, tiny_checkpoint, tmp_path):
    for name in ("0.1", "0.2"):
        save_stage(tmp_path / name, stage=name, config=tiny_config, parts={})
    assert find_checkpoint(tmp_path) == tmp_path / "0.2"
    assert find_checkpoint(tiny_checkpoint) == tiny_checkpoint


def test_a_folder_without_a_stage_is_named(tmp_path):
    with pytest.raises(ValueError, match="has no finished stage"):
        find_checkpoint(tmp_path)


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
    (tmp_path / EVALUATION).write_text(json.dumps({"rows": [Row("video", 91.0, 200, 90.0, chance=25.0).record()]}))
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
