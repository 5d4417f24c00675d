"""ScienceQA: the original folder and the Parquet files give the same questions."""

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.training.data.converters.corpora import picture, table, text
from training.data.sources.dialogues import open_dialogues

NORTH = {
    "question": "Which state is farthest north?",
    "choices": ["West Virginia", "Louisiana"],
    "answer": 0,
    "hint": "Look at the map.",
    "image": "image.png",
    "solution": "West Virginia is farthest north.",
    "lecture": "Maps have four cardinal directions.",
}
PLAIN = NORTH | {"question": "Which is a verb?", "choices": ["run", "red"], "hint": "", "image": None, "solution": ""}
ASKED = "Which state is farthest north?\nLook at the map.\n(A) West Virginia\n(B) Louisiana"
ANSWERED = "The answer is (A) West Virginia.\nWest Virginia is farthest north."


def original(folder):
    problems = {"1": NORTH, "2": PLAIN, "3": NORTH | {"answer": 2}, "4": NORTH, "5": PLAIN}
    splits = {"train": ["1", "2", "3", "4", "99"], "val": ["5"], "minival": ["5"], "test": []}
    text(folder / "problems.json", json.dumps(problems))
    text(folder / "pid_splits.json", json.dumps(splits))
    picture(folder / "images/train/1/image.png")


def test_questions_are_read_back(tmp_path, converted):
    original(tmp_path / "data/scienceqa")
    result = converted("scienceqa", tmp_path)
    source = result.opened("train", open_dialogues)
    shown, asked = source[0].messages[0]["content"]
    assert Image.open(shown["image"]).size == (8, 6) and asked["text"] == ASKED
    assert source[0].messages[1]["content"] == ANSWERED
    assert source[1].messages[0]["content"] == [{"type": "text", "text": "Which is a verb?\n(A) run\n(B) red"}]
    assert list(result.sources) == ["train"] and len(result.lines("val")) == 1


def test_what_cannot_be_used_is_named(tmp_path, converted):
    original(tmp_path)
    result = converted("scienceqa", tmp_path)
    assert {(bad["id"], bad["reason"]) for bad in result.bad} == {
        ("3", "no answer"),
        ("4", "missing file"),
        ("99", "missing problem"),
    }


def test_the_pictures_of_parquet_files_are_written(tmp_path, converted):
    content = picture(tmp_path / "a.jpg").read_bytes()
    rows = [NORTH | {"image": {"bytes": content, "path": "image.png"}}, PLAIN]
    table(tmp_path / "data/train-00000-of-00001-1028f23e353fbe3e.parquet", rows)
    table(tmp_path / "data/validation-00000-of-00001-6c7328ff6c84284c.parquet", [PLAIN])
    result = converted("scienceqa", tmp_path)
    source = result.opened("train", open_dialogues)
    shown, asked = source[0].messages[0]["content"]
    assert Path(shown["image"]).read_bytes() == content and shown["image"].endswith("images/train/0.jpg")
    assert asked["text"] == ASKED and len(source) == 2
    assert list(result.sources) == ["train"] and len(result.lines("validation")) == 1


def test_another_file_is_refused(tmp_path, converted):
    text(tmp_path / "problems.json", "[1")
    text(tmp_path / "pid_splits.json", "{}")
    with pytest.raises(ValueError, match=r"problems.json: not JSON"):
        converted("scienceqa", tmp_path)
