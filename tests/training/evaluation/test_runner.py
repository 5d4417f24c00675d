"""The evaluation of a checkpoint: what is measured, what is kept of it, and what may be named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from parley.checkpoints import Checkpoint, save_stage
from training.evaluation import runner
from training.evaluation.runner import BEFORE_SPEECH, EMPTY, evaluate, find_checkpoint, scores_before_speech
from training.evaluation.suites import world
from training.evaluation.suites.world import SEEDS, Row
from training.evaluation.table import Measure
from training.evaluation.vision import WORLD_LOST


@pytest.fixture
def rows(monkeypatch) -> dict[str, list[int]]:
    """Three rows of which the last one lacks a package → the seeds that each was measured under."""
    seeds: dict[str, list[int]] = {"one": [], "two": []}

    def row(name: str, lacks: str = "") -> Row:
        def measure(model, seed: int, count: int) -> list[Measure]:
            seeds[name].append(seed)
            return [Measure(name, float(seed - SEEDS[0]), count, 1.0, empty=1)]

        return Row(name, frozenset({"language"}), measure, seconds=1, lacks=lambda: lacks)

    monkeypatch.setattr(world, "ROWS", (row("one"), row("two"), row("three", "voices are not installed")))
    return seeds


def test_an_evaluation_leaves_gradients_on(rows, tiny_checkpoint: Path):
    evaluate(tiny_checkpoint)
    assert torch.is_grad_enabled()


def test_rows_are_means_over_seeds_and_what_is_not_installed_is_named(rows, tiny_checkpoint: Path):
    found = evaluate(tiny_checkpoint, count=7)
    assert rows == {"one": list(SEEDS), "two": list(SEEDS)}
    assert [(row["name"], row["value"], row["spread"], row["n"]) for row in found["rows"]] == [
        ("one", 1.0, 1.0, 21), ("two", 1.0, 1.0, 21), (EMPTY, 6, None, 42),
    ]  # fmt: skip
    assert found["rows"][-1]["ok"] is False and found["left_out"] == ["not measured, voices are not installed: three"]


def test_rows_are_chosen_by_their_names(rows, tiny_checkpoint: Path):
    assert [row["name"] for row in evaluate(tiny_checkpoint, pattern="^T")["rows"]] == ["two", EMPTY]
    for pattern, message in (
        ("four", "'four' in its name; there are: one; two; three"),
        ("(", "no regular expression"),
    ):
        with pytest.raises(ValueError, match=message):
            evaluate(tiny_checkpoint, pattern=pattern)


def test_one_that_was_stopped_goes_on(rows, tiny_checkpoint: Path, tmp_path: Path, monkeypatch):
    file = tmp_path / "rows.json"
    evaluate(tiny_checkpoint, pattern="two", file=file)
    assert [row["name"] for row in json.loads(file.read_text())["rows"]] == ["two", EMPTY]
    found = evaluate(tiny_checkpoint, file=file, resume=True)
    assert rows["two"] == list(SEEDS) and json.loads(file.read_text()) == found
    assert [row["name"] for row in found["rows"]] == ["one", "two", EMPTY] and found["rows"][-1]["n"] == 600
    with pytest.raises(ValueError, match=r"another evaluation \(count differ\): name another file"):
        evaluate(tiny_checkpoint, count=3, file=file, resume=True)


def test_what_was_measured_is_in_the_file_when_the_next_row_fails(rows, tiny_checkpoint: Path, tmp_path, monkeypatch):
    def fails(model, seed: int, count: int) -> list[Measure]:
        raise RuntimeError

    broken = Row("broken", frozenset(), fails, seconds=1)
    monkeypatch.setattr(world, "ROWS", (world.ROWS[0], broken))
    with pytest.raises(RuntimeError):
        evaluate(tiny_checkpoint, file=tmp_path / "rows.json")
    assert [row["name"] for row in json.loads((tmp_path / "rows.json").read_text())["rows"]] == ["one"]


def test_the_score_before_speech_is_measured_if_its_stage_is_there(tiny_checkpoint: Path, tmp_path: Path):
    for name in ("1.3", "2.2"):
        shutil.copytree(tiny_checkpoint, tmp_path / name)
    [lost] = [row for row in evaluate(tmp_path / "2.2", 1, "text in")["rows"] if row["name"] == WORLD_LOST]
    assert (lost["value"], lost["by_seed"], lost["n"]) == (0, [0, 0, 0], 21)


def test_the_score_before_speech_is_as_recorded_if_its_stage_is_not_there(tiny_config, tmp_path: Path):
    def recorded(name: str, metrics: dict) -> dict[int, float]:
        save_stage(tmp_path / name, stage="2.2", config=tiny_config, parts={}, metrics=metrics)
        return scores_before_speech(Checkpoint.open(tmp_path / name), 1)

    assert recorded("a", {BEFORE_SPEECH: {2026: 97.0, 2027: 95.0}}) == {2026: 97.0, 2027: 95.0}
    assert recorded("b", {BEFORE_SPEECH: 97.5}) == {SEEDS[0]: 97.5}  # of weights that were measured on one seed
    assert recorded("c", {}) == {}
    evaluation = runner.Evaluation("", 1, SEEDS, {runner.PICTURES.name: [Measure("", 0, 21).record()]})
    [lost] = runner.loss_since_speech({SEEDS[0]: 97.5}, dict.fromkeys(SEEDS, 97.0), evaluation)
    assert (lost.value, lost.n) == (0.5, 7)


def test_a_run_is_its_last_stage(tiny_config, tiny_checkpoint, tmp_path):
    for name in ("0.1", "0.2"):
        save_stage(tmp_path / name, stage=name, config=tiny_config, parts={})
    assert find_checkpoint(tmp_path) == tmp_path / "0.2"
    assert find_checkpoint(tiny_checkpoint) == tiny_checkpoint
