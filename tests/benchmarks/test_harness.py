"""The tasks and the runner of lmms-eval, without lmms-eval: what is asked, what is right, how results are read."""

from __future__ import annotations

import importlib.util
import io
import json
from pathlib import Path

import datasets
import pytest
import soundfile
import yaml

from benchmarks import harness, harness_rows
from parley.media.video import read_video
from training.data.world import heldout


class TaskLoader(yaml.SafeLoader):
    """Reads `!function name` as the name."""


TaskLoader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))


def task(name: str) -> dict:
    """A task as lmms-eval puts it together."""
    read = yaml.load((harness.TASKS / f"{name}.yaml").read_text(), TaskLoader)
    included = read.pop("include", None)
    return ({} if included is None else task(included.removesuffix(".yaml"))) | read


@pytest.fixture(scope="module")
def scoring():
    spec = importlib.util.spec_from_file_location("scoring", harness.TASKS / "scoring.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("rows")
    harness_rows.write(folder)
    return folder


def read_rows(folder: Path, name: str) -> datasets.Dataset:
    """The rows of a task as lmms-eval reads them."""
    files = {split: str(folder / file) for split, file in task(name)["dataset_kwargs"]["data_files"].items()}
    return datasets.load_dataset("parquet", data_files=files, split="test", cache_dir=str(folder / "cache"))


@pytest.fixture(scope="module")
def rows(folder: Path) -> datasets.Dataset:
    return read_rows(folder, harness.PICTURES)


@pytest.mark.parametrize("name", [harness.PICTURES, harness.VIDEOS, harness.SPOKEN])
def test_a_task_is_complete(name: str, scoring):
    read = task(name)
    assert read["task"] == name and read["output_type"] == "generate_until" and read["test_split"] == "test"
    assert [metric["metric"] for metric in read["metric_list"]] == ["exact_match"]
    for value in read.values():
        if isinstance(value, str) and value.startswith("scoring."):
            assert callable(getattr(scoring, value.removeprefix("scoring.")))


def test_rows_are_held_out_questions_of_every_kind(rows: datasets.Dataset):
    samples = list(heldout.questions(harness_rows.SEED, harness_rows.COUNT))
    assert rows["answer"] == [sample.messages[1]["content"] for sample in samples]
    assert rows["kind"] == [sample.about["kind"] for sample in samples]
    picture = samples[0].messages[0]["content"][0]["image"]
    assert rows[0]["image"].convert("RGB").tobytes() == picture.tobytes()
    seconds = [soundfile.info(io.BytesIO(speech)).duration for speech in rows["speech"]]
    assert all(0.5 < each < 10 for each in seconds)


def test_what_is_asked(rows: datasets.Dataset, scoring, monkeypatch, tmp_path: Path):
    monkeypatch.setattr(scoring, "FOLDER", tmp_path / "speech")
    message = scoring.written_question(rows[0])[0]
    assert [part["type"] for part in message["content"]] == ["image", "text"]
    assert message["content"][1]["text"] == rows[0]["question"]
    picture, file = scoring.picture_and_speech(rows[0])
    assert picture.mode == "RGB" and Path(file).read_bytes() == rows[0]["speech"] and file.endswith(".mp3")


def test_a_video_is_asked_about_by_its_path(folder: Path, scoring, monkeypatch, tmp_path: Path, tiny_config):
    monkeypatch.setattr(scoring, "FOLDER", tmp_path / "videos")
    rows = read_rows(folder, harness.VIDEOS)
    samples = list(heldout.videos(harness_rows.SEED, harness_rows.VIDEOS))
    assert rows["answer"] == [sample.messages[1]["content"] for sample in samples]
    video, question = scoring.question_of_video(rows[0])[0]["content"]
    assert question["text"] == rows[0]["question"] and video["type"] == "video"
    assert len(read_video(video["url"], tiny_config.vision)) == 4


@pytest.mark.parametrize(("answer", "right"), [("The big circle  is white", 1), ("the big circle is red.", 0), ("", 0)])
def test_an_answer_is_right_word_for_word(scoring, answer: str, right: int):
    assert scoring.judge({"answer": "the big circle is white."}, [answer]) == {"exact_match": right}


def test_results_are_read_with_the_requests_that_failed(tmp_path: Path):
    folder = tmp_path / "0/parley"
    folder.mkdir(parents=True)
    metrics = {"alias": "x", "acc,none": 0.5, "acc_stderr,none": 0.1, "acc_stderr_clt,none": 0.1, "text,none": "a"}
    (folder / "20261127_1_results.json").write_text(json.dumps({"results": {"x": metrics}}))
    lines = [{"filtered_resps": ["it is red"]}, {"filtered_resps": [f"{harness.FAILED} after 5 retries] 429"]}]
    (folder / "20261127_1_samples_x.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert harness.scores(tmp_path) == [{"task": "x", "metric": "acc", "value": 0.5, "asked": 2, "failed": 1}]


def test_sound_is_sent_in_the_mode_that_can(monkeypatch, tmp_path: Path):
    monkeypatch.setattr(harness, "PYTHON", tmp_path / "python")
    (tmp_path / "python").touch()
    options = harness.parse(["--limit", "3"])
    spoken, written = (
        harness.command([name], "127.0.0.1:8080", tmp_path, options) for name in (harness.SPOKEN, harness.PICTURES)
    )
    assert "--force_simple" in spoken and "--force_simple" not in written
    assert "pass_video_url=True" in written[written.index("--model_args") + 1]
    assert written[written.index("--limit") + 1] == "3"
    assert "base_url=http://127.0.0.1:8080/v1" in written[written.index("--model_args") + 1]


def test_a_task_that_would_lose_its_sound_is_refused(capsys):
    with pytest.raises(SystemExit):
        harness.parse(["mmstar", "librispeech_test_clean"])
    assert "librispeech_test_clean without the sound; use `parley eval --suite`" in capsys.readouterr().err


def test_without_its_environment_the_target_is_named(monkeypatch, tmp_path: Path, capsys):
    monkeypatch.setattr(harness, "PYTHON", tmp_path / ".venv-lmms/bin/python")
    with pytest.raises(SystemExit):
        harness.parse([])
    assert "run `make lmms-eval`" in capsys.readouterr().err
