"""`parley eval --suite`: what it prints and writes, and how it refuses."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from cli.main import main
from parley.media.audio import write_wav


@pytest.fixture
def parley(monkeypatch, capsys):
    def run(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["parley", "eval", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code or 0, *capsys.readouterr()

    return run


@pytest.fixture
def libri(tmp_path: Path) -> Path:
    chapter = tmp_path / "LibriSpeech/dev-clean/1/2"
    chapter.mkdir(parents=True)
    for number in range(4):
        write_wav(chapter / f"1-2-000{number}.flac", np.zeros(4000 + 4000 * number), 16_000)
    (chapter / "1-2.trans.txt").write_text("".join(f"1-2-000{number} HE HOPED\n" for number in range(5)))
    return tmp_path / "LibriSpeech"


def test_a_suite_prints_its_table_and_writes_it(parley, libri: Path, tiny_checkpoint: Path, tmp_path: Path):
    file = tmp_path / "rows.json"
    status, out, err = parley(tiny_checkpoint, "--suite", "librispeech", "--data", libri, "--json", file)
    assert status == 0 and "dev-clean: WER, CTC head" in out and "VITA-1.5, as published: WER 3.4" in out
    assert "1 records could not be measured:" in err and "(id 1-2-0004): no audio file" in err
    written = json.loads(file.read_text())
    assert [row["n"] for row in written["rows"]] == [4, 4] and written["left_out"]["count"] == 1
    assert written["suite"] == "librispeech" and written["data"] == str(libri)


def test_count_takes_some_records_and_always_the_same(parley, libri: Path, tiny_checkpoint: Path, tmp_path: Path):
    def rows(*options: str) -> list[dict]:
        parley(tiny_checkpoint, "--suite", "librispeech", "--data", libri, "--json", tmp_path / "rows.json", *options)
        return json.loads((tmp_path / "rows.json").read_text())["rows"]

    first = rows("--count", "1")
    assert [row["n"] for row in first] == [1, 1] and rows("--count", "1") == first


def test_rows_of_the_world_are_printed_and_written(parley, tiny_checkpoint: Path, tmp_path: Path):
    file = tmp_path / "rows.json"
    status, out, _ = parley(tiny_checkpoint, "--count", "1", "--rows", "^video: which", "--json", file)
    assert status == 0 and out.splitlines()[1].startswith("video: which way it moves")
    assert json.loads(file.read_text())["rows"][0]["n"] == 3
    status, again, _ = parley(tiny_checkpoint, "--count", "1", "--rows", "^video: which", "--json", file, "--resume")
    assert status == 0 and again == out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--suite", "librispeach"], "no suite 'librispeach'; there are: librispeech, aishell"),
        (
            ["--suite", "aishell"],
            "--suite aishell (characters wrong in transcripts of AISHELL-1's test set) needs --data: the folder",
        ),
        (["--suite", "aishell", "--data", "nowhere"], "--data nowhere: there is no such file or folder"),
        (["--suite", "aishell", "--data", "."], ". is not of the layout aishell-1"),
        (["--data", "."], "--data, --media and --ask are for a --suite"),
        (["--rows", "banana"], "no row has 'banana' in its name; there are: picture questions, text in; "),
        (["--resume"], "--resume continues the file of --json: name it"),
        (["--suite", "speech", "--data", ".", "--rows", "state"], "--rows and --resume are for nano's world"),
    ],
)
def test_a_mistake_is_one_line(parley, tiny_checkpoint: Path, arguments: list[str], message: str):
    status, out, err = parley(tiny_checkpoint, *arguments)
    assert status == 2 and out == "" and err.startswith(f"parley: {message}") and err.count("\n") == 1
