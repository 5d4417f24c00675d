"""`parley data speak` as a user runs it: espeak-ng, killed and gone on with, and what it refuses."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from cli.data import app


@pytest.fixture
def records(tmp_path):
    file = tmp_path / "records.jsonl"
    lines = [
        {
            "id": f"r{number}",
            "conversations": [
                {"from": "human", "value": f"How much is {number} and two, and is that a lot?"},
                {"from": "gpt", "value": str(number + 2)},
            ],
        }
        for number in range(24)
    ]
    file.write_text("\n".join(map(json.dumps, lines)))
    return file


def arguments(records, out) -> list[str]:
    options = ["--espeak", "--negatives", "3", "--cut", "0.5", "--jobs", "2"]
    return ["speak", str(records), "--out", str(out), *options]


def contents(folder) -> dict[str, bytes]:
    """Every file but the log, whose lines are in the order in which they were done."""
    files = (file for file in folder.rglob("*") if file.is_file() and file.name != "done.jsonl")
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def test_killed_it_goes_on_and_makes_the_same(records, tmp_path):
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    command = [sys.executable, "-m", "cli.main", "data", *arguments(records, killed)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True)
    log = killed / "done.jsonl"
    while not log.exists() or log.read_bytes().count(b"\n") < 5:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert log.read_bytes().count(b"\n") < 27 and not (killed / "records.jsonl").exists()
    for folder in (killed, whole):
        done = CliRunner().invoke(app, arguments(records, folder))
        assert done.exit_code == 0, done.output
        assert "24 in records.jsonl, 10 in cut.jsonl, 3 in negatives.jsonl; 24 questions" in done.output
    assert contents(killed) == contents(whole)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "say what speaks"),
        (["--espeak", "--url", "http://127.0.0.1:1/v1"], "say what speaks"),
        (["--espeak", "--voices", "en-us+nobody"], "no voice 'en-us+nobody'"),
        (["--espeak", "--speeds", "fast"], "--speeds is LOWEST:HIGHEST"),
        (["--espeak", "--speeds", "1.2:0.8"], "the lower one first"),
        (["--espeak", "--share", "2"], "--share: "),
        (["--espeak", "--unaddressed", "nowhere.txt"], "there is no file nowhere.txt"),
        (["--espeak", "--noise", "nowhere"], "there is no folder nowhere"),
        (["--command", "tts {text} {voice} {out}"], "name some by --voices"),
    ],
)
def test_what_it_refuses(records, tmp_path, options, message):
    found = CliRunner().invoke(app, ["speak", str(records), "--out", str(tmp_path / "out"), *options])
    assert isinstance(found.exception, ValueError) and message in str(found.exception), found.output


def test_the_key_is_in_no_file_and_no_message(records, tmp_path, monkeypatch):
    monkeypatch.setenv("MY_KEY", "sk-secret")
    options = ["--url", "http://127.0.0.1:9/v1", "--key-variable", "MY_KEY", "--attempts", "1"]
    found = CliRunner().invoke(app, ["speak", str(records), "--out", str(tmp_path / "out"), *options])
    assert "20 records in a row were not spoken" in str(found.exception)
    written = b"".join(contents(tmp_path / "out").values())
    assert b"127.0.0.1:9" in written and b"secret" not in written + found.output.encode()
