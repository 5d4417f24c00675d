"""What docs/data.md says of mix.yaml, formats and layouts is so, and its examples are read."""

import contextlib
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from training.data.converters.convert import convert
from training.data.converters.registry import LAYOUTS, find_layout
from training.data.mix import Entry, read_mix
from training.data.record_error import RecordError
from training.data.sources.dialogues import open_dialogues
from training.data.sources.speech import open_speech
from training.recipe import STAGES

PAGE = (Path(__file__).parents[1] / "docs/data.md").read_text()
NAMED = re.findall(r"`([\w/.-]+)`:\n\n```\w*\n(.*?)```", PAGE, re.DOTALL)  # examples that are a file, with its name
CODE = re.findall(r"For example:\n\n```(\w*)\n(.*?)```", PAGE, re.DOTALL)


def section(title: str) -> str:
    return re.split(r"^##+ ", PAGE.partition(f"\n{title}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str) -> list[list[str]]:
    """The cells of the tables' rows, without their heads."""
    cells = [[cell.strip() for cell in line.split(" | ")] for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip("| `") for cell in row] for row in cells]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Media and files of the names that the page uses."""
    folder = tmp_path_factory.mktemp("page")
    for name in ("question", "lecture", "noise"):
        soundfile.write(folder / f"{name}.wav", np.full(16_000, 0.1, np.float32), 16_000)
    for name in ("bus", "cat"):
        Image.new("RGB", (8, 8)).save(folder / f"{name}.jpg")
        (folder / f"{name}.txt").write_text(f"a {name}")
    (folder / "street.mp4").touch()
    for name, content in NAMED:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content)
    with contextlib.chdir(folder):
        for language, code in CODE:
            exec(code, {}) if language == "python" else subprocess.run(code, shell=True, check=True)
    return folder


@pytest.mark.parametrize(
    ("name", "records"),
    [
        ("dialogues.jsonl", 3),
        ("messages.jsonl", 3),
        ("captions.jsonl", 3),
        ("captions.parquet", 1),
        ("captions-000.tar", 2),
    ],
)
def test_the_examples_of_dialogues_are_read(folder, name, records):
    source = open_dialogues(folder / name)
    assert len(source) == records
    assert all(source[index].messages[-1]["role"] == "assistant" for index in range(records))


@pytest.mark.parametrize(("name", "records"), [("utterances.jsonl", 3), ("kaldi", 1), ("cuts.jsonl.gz", 1)])
def test_the_examples_of_speech_are_read(folder, name, records):
    source = open_speech(folder / name)
    assert len(source) == records
    assert all(source[index].text for index in range(records))


def test_the_fields_of_mix_yaml_are_all_there():
    assert [row[0] for row in rows(section("## mix.yaml")) if row[0] in Entry.model_fields] == list(Entry.model_fields)


def test_the_shares_are_the_recipe_s():
    said = {row[0]: row[2] for row in rows(section("## mix.yaml")) if len(row) == 3}
    for stage in STAGES:
        for kind, share in (stage.full.shares if stage.full else {}).items():
            assert f"{stage.name} {100 * share:g} %" in said[kind], (stage.name, kind)
        for kind in stage.full.as_many if stage.full else ():
            assert said[kind].startswith(f"{stage.name}: as many")


def test_the_layouts_are_all_there():
    assert [row[0] for row in rows(section("## Convert a public data set")) if row[0] in LAYOUTS][:7] == list(LAYOUTS)


def test_the_example_of_mix_yaml_is_read(folder, tmp_path):
    (tmp_path / "mix.yaml").write_text(re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[1])
    (tmp_path / "corpora").mkdir()
    shutil.copy(folder / "captions.jsonl", tmp_path)
    shutil.copy(folder / "utterances.jsonl", tmp_path / "corpora")
    mix = read_mix(tmp_path / "mix.yaml")
    assert [(one.kind, one.weight, len(one.source)) for one in mix.sources] == [
        ("captions", 1.0, 3),
        ("transcriptions", 2.0, 3),
    ]
    with pytest.raises(RecordError, match=r"corpora/wav/question\.wav"):  # where `media` says that it is
        mix.sources[1].source[0]


def test_one_mix_is_made_of_several_conversions(tmp_path):
    for number, layout in enumerate(("librispeech", "libritts")):
        chapter = tmp_path / layout / "train-clean-100/1/2"
        chapter.mkdir(parents=True)
        soundfile.write(chapter / "1-2-0000.wav", np.zeros(2400), 24_000)
        soundfile.write(chapter / "1-2-0000.flac", np.zeros(1600), 16_000)
        (chapter / "1-2.trans.txt").write_text("1-2-0000 YES\n")
        (chapter / "1-2-0000.normalized.txt").write_text("Yes.")
        folder = tmp_path / "data/parley" / ("recap-558k", "onevision")[number]
        convert(find_layout(layout), tmp_path / layout, folder, progress=False)
    command = PAGE.partition("### All in one mix.yaml\n\n```\n")[2].partition("parley data check")[0]
    command = re.sub("onevision .*;", "onevision;", command.replace("/data/", f"{tmp_path}/data/"))
    subprocess.run(command, shell=True, check=True)
    mix = read_mix(tmp_path / "data/parley/mix.yaml")
    assert {one.name: (one.kind, one.source[0].text) for one in mix.sources} == {
        "librispeech-train-clean-100": ("transcriptions", "yes"),
        "libritts-train-clean-100": ("speech", "Yes."),
    }
