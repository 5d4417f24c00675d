"""A conversion is there whole or not at all, and its mix.yaml names kinds that the recipe knows."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.training.data.converters.corpora import sound, text
from training.data.converters.convert import convert
from training.data.converters.output import OutputFolder
from training.data.converters.part import Part, split_of
from training.data.converters.registry import LAYOUTS, find_layout
from training.data.records import Bad
from training.recipe import STAGES

ROOT = Path(__file__).parents[4]


@pytest.fixture
def corpus(tmp_path):
    chapter = tmp_path / "LibriSpeech/train-clean-5/1/2"
    for number in range(3):
        sound(chapter / f"1-2-000{number}.flac")
    text(chapter / "1-2.trans.txt", "1-2-0000 A\n1-2-0001 B\n1-2-0002 C\n")
    return tmp_path / "LibriSpeech"


class Slow:
    """LibriSpeech, and then nothing for a minute."""

    name = "slow"

    def parts(self, source):
        def items():
            yield from find_layout("librispeech").parts(source)[0].items()
            time.sleep(60)

        return [Part("train", "transcriptions", source, items)]


class Bare:
    """Thirty recordings without a transcript."""

    name, about = "bare", "SPEAKER/*.wav"

    def parts(self, source):
        bad = [Bad(f"file:{number}", "", "no transcript", "none") for number in range(30)]
        return [Part("train", "transcriptions", source, lambda: iter(bad))]


def test_a_killed_conversion_leaves_nothing_and_is_run_again(corpus, tmp_path, converted):
    code = "from pathlib import Path; from tests.training.data.converters.test_convert import Slow\n"
    code += "from training.data.converters.convert import convert\n"
    code += f"convert(Slow(), Path({str(corpus)!r}), Path({str(tmp_path / 'out')!r}), progress=False)"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    half = tmp_path / ".out.tmp/train.jsonl"
    for _ in range(600):
        if half.exists():
            break
        time.sleep(0.05)
    try:
        with pytest.raises(ValueError, match="another conversion is writing"):
            converted("librispeech", corpus)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert half.exists() and not (tmp_path / "out").exists()
    assert len(converted("librispeech", corpus).lines("train-clean-5")) == 3
    assert not half.parent.exists()


def test_a_place_that_is_taken_is_left_as_it_is(corpus, tmp_path, converted):
    kept = text(tmp_path / "out/mine.txt", "mine")
    with pytest.raises(ValueError, match="is there already: name another folder"):
        converted("librispeech", corpus)
    assert kept.read_text() == "mine"


def test_a_data_set_without_a_good_record_writes_nothing(tmp_path):
    with pytest.raises(ValueError, match=r"can be used; bare is SPEAKER/\*.wav:\n(.*\n)*.*… and 10 more in bad.jsonl"):
        convert(Bare(), tmp_path, tmp_path / "out", progress=False)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_with_the_folder_and_leaves_nothing(tmp_path):
    with pytest.raises(OSError) as caught, OutputFolder(tmp_path / "out"), open("/dev/full", "w") as full:
        full.write("x")
        full.flush()
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path / "out"))
    assert list(tmp_path.iterdir()) == []


def test_speech_is_copied(corpus, converted):
    result = converted("librispeech", corpus, copy=True)
    media = Path(result.sources["train-clean-5"]["media"])
    assert media == result.out / "media"
    assert all((media / line["audio"]).is_file() for line in result.lines("train-clean-5"))


def test_the_recipe_knows_the_kinds(corpus, converted):
    known = {kind for stage in STAGES if stage.full for kind in stage.full.shares}
    assert {entry["kind"] for entry in converted("librispeech", corpus).sources.values()} <= known


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_refuses_an_empty_folder_in_one_line(tmp_path, name):
    with pytest.raises(ValueError, match="is not of the layout") as caught:
        find_layout(name).parts(tmp_path)
    assert "\n" not in str(caught.value)


def test_the_split_is_read_from_the_name():
    names = ("train-clean-100", "dev-other", "val", "validation", "test-clean", "test", "data")
    assert [split_of(name) for name in names] == ["train", "dev", "dev", "dev", "test", "test", "train"]
