"""The vision score before and after the audio stages, in the report of a run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from parley.checkpoints import save_stage
from training.data.world.questions import PICTURE_KINDS
from training.evaluation.report import EVALUATION, write_report
from training.evaluation.table import Measure
from training.evaluation.vision import WORLD_KINDS, WORLD_LOST, WORLD_SCORE

PUBLISHED = "| VITA-1.5 as published, mean of its image benchmarks | 71.3 | 70.8 | -0.5 |"


@pytest.fixture
def save(tiny_config, tmp_path: Path):
    def saved(path: str, metrics: dict, parent: str | None = None, fingerprint: str = "abc/9") -> None:
        start = tmp_path / parent if parent else None
        data = {"samples": {"captions": 9}, "fingerprint": fingerprint}
        stage = path.split("/")[-1]
        save_stage(tmp_path / path, stage=stage, config=tiny_config, parts={}, parent=start, metrics=metrics, data=data)

    return saved


def rows(run: Path) -> list[str]:
    """The lines of the table."""
    text = write_report(run).read_text()
    return text.split("## Vision before and after speech")[1].split("##")[0].strip().splitlines()[2:]


def seen(exact: float, tokens: float) -> dict:
    return {"questions": exact, "questions_token_accuracy": tokens, "questions_loss": 1.0}


def test_both_stages_of_a_run_are_compared(save, tmp_path: Path):
    save("run/1.3", seen(40.0, 80.25))
    save("run/2.2", seen(39.0, 81.0), "run/1.3", fingerprint="abc/12")
    assert rows(tmp_path / "run") == [
        "| held-out questions, tokens right | 80.2 | 81.0 | +0.8 |",
        "| held-out questions, answers matched | 40.0 | 39.0 | -1.0 |",
        PUBLISHED,
    ]
    assert "| 2.2 | captions 9 | abc/12 |" in write_report(tmp_path / "run").read_text()


def test_the_first_may_be_of_another_run(save, tmp_path: Path):
    save("one/1.3", seen(40.0, 80.0))
    save("two/2.1b", {}, "one/1.3")
    save("two/2.2", seen(39.0, 81.0), "two/2.1b", fingerprint="def/9")
    assert rows(tmp_path / "two")[0] == "| held-out questions, tokens right; their data differ | 80.0 | 81.0 | +1.0 |"
    shutil.rmtree(tmp_path / "one")
    assert rows(tmp_path / "two")[0] == "| held-out questions, tokens right | – | 81.0 | – |"


def test_of_nano_the_probe_and_the_evaluation_are_shown(save, tmp_path: Path):
    assert set(WORLD_KINDS) == set(PICTURE_KINDS)
    save("run/1.3", dict.fromkeys(WORLD_KINDS, 98.0) | {"captions": 0.0})
    measured = [Measure(WORLD_SCORE, 97.0, 700).record(), Measure(WORLD_LOST, 0.5, 700).record()]
    (tmp_path / "run" / EVALUATION).write_text(json.dumps({"rows": measured}))
    assert rows(tmp_path / "run") == [
        "| picture questions, a small probe | 98.0 | – | – |",
        "| picture questions, the evaluation | 97.5 | 97.0 | -0.5 |",
        PUBLISHED,
    ]


def test_a_run_without_vision_has_no_such_table(save, tmp_path: Path):
    save("run/2.1a", {"wer_sentences": 3.0})
    assert "Vision before" not in write_report(tmp_path / "run").read_text()
