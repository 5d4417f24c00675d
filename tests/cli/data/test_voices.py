"""`parley data voices`: what is there, and speech made before it is needed."""

import pytest
from typer.testing import CliRunner

from cli.data import app
from training.data.world import pools
from training.data.world.voices import Voice


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv("PARLEY_SPEECH_CACHE", str(tmp_path / "speech"))
    return tmp_path / "speech"


def run(*arguments: str):
    return CliRunner().invoke(app, ["voices", *arguments])


def test_it_says_what_is_there_and_what_is_missing(folder):
    told = run().output
    assert "hibari   1 voice trained, 0 held out\n" in told and "piper    0 voices trained, 1 held out\n" in told
    assert "kokoro   parley data voices --styles npm" in told and "judge    Whisper base\n" in told
    assert f"{folder}: 0 clips, 0 MB" in told
    assert isinstance(run("--styles", "gone").exception, ValueError)


def test_speech_is_made_once(folder, monkeypatch):
    said = [("one.", Voice("slt", 160, engine="flite")), ("two.", Voice("heart", 192, engine="hibari"))]
    monkeypatch.setattr(pools, "utterances", lambda seed: iter(said * 2))
    done = run("--make", "--jobs", "2")
    assert done.exit_code == 0 and f"{folder}: 2 clips" in done.output
    times = {file: file.stat().st_mtime_ns for file in folder.rglob("*.flac")}
    assert f"{folder}: 2 clips" in run("--make").output
    assert times == {file: file.stat().st_mtime_ns for file in folder.rglob("*.flac")}
