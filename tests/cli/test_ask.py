"""What `parley ask` takes as a question, and what it says of files that are none."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from cli import ask
from cli.errors import CommandError


def run(*arguments: object):
    return CliRunner().invoke(ask.app, [str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("rate", "channels", "subtype", "suffix"),
    [
        (16_000, 1, "PCM_16", "wav"),
        (44_100, 2, "PCM_U8", "wav"),
        (8_000, 1, "PCM_24", "flac"),
        (48_000, 2, "FLOAT", "wav"),
    ],
)
def test_any_sound_file_becomes_16_khz_mono(tmp_path, rate, channels, subtype, suffix):
    path = tmp_path / f"question.{suffix}"
    tone = 0.5 * np.sin(2 * np.pi * 300 * np.arange(rate) / rate)
    soundfile.write(path, np.stack([tone] * channels, axis=1), rate, subtype=subtype)
    samples = np.frombuffer(ask.read_question(path), "<i2").astype(float)
    assert len(samples) == 16_000
    assert np.sqrt((samples[1000:-1000] ** 2).mean()) == pytest.approx(0.5 * 32767 / np.sqrt(2), rel=0.02)


def files(tmp_path):
    (tmp_path / "words.wav").write_text("this is no sound")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 16_000)
    soundfile.write(tmp_path / "long.wav", np.zeros(600 * 8_000, np.int16), 8_000)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("words.wav", "not a sound file"),
        ("empty.wav", "empty"),
        ("long.wav", "lasts 600.0 s"),
        ("missing.wav", "no file"),
    ],
)
def test_what_cannot_be_heard_is_said_in_one_line(tmp_path, name, complaint):
    done = run("--audio", files(tmp_path) / name, "--address", "127.0.0.1:9")
    assert isinstance(done.exception, ValueError) and complaint in str(done.exception)


def test_a_picture_that_is_not_there_is_named(tmp_path):
    done = run("--text", "hello", "--image", tmp_path / "none.png", "--address", "127.0.0.1:9")
    assert isinstance(done.exception, ValueError) and "none.png" in str(done.exception)


def test_without_a_stack_it_says_how_to_start_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run("--text", "hello")
    assert isinstance(done.exception, CommandError) and "parley up" in str(done.exception)


def test_a_gateway_that_is_not_there_is_an_error_in_one_line():
    done = run("--text", "hello", "--address", "127.0.0.1:9")
    assert isinstance(done.exception, CommandError) and "UNAVAILABLE" in str(done.exception)
