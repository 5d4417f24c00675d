"""Where speech starts and ends in a client's audio."""

from __future__ import annotations

import numpy as np
import pytest

from services.gateway.media.voice_activity import VoiceActivity
from services.gateway.settings import VadSettings


def chunks(data: bytes, size: int):
    return [data[at : at + size] for at in range(0, len(data), size)]


def with_silence(speech: np.ndarray, before: float, after: float) -> bytes:
    noise = np.random.default_rng(0).normal(0, 20, round((before + after) * 16_000) + len(speech))
    at = round(before * 16_000)
    noise[at : at + len(speech)] += speech
    return noise.astype("<i2").tobytes()


def test_a_question_is_found_with_its_first_syllable(spoken_question):
    audio = with_silence(spoken_question, 1.0, 1.5)
    vad = VoiceActivity(VadSettings(), 16_000)
    segments = [part for chunk in chunks(audio, 1280) for part in vad.feed(chunk)]
    kinds = [part.kind for part in segments]
    assert kinds.count("start") == kinds.count("end") == 1 and not vad.speaking
    question = b"".join(part.audio for part in segments)
    at = audio.find(question)
    assert at >= 0, "the question is one piece of what was said"
    begin, end = at / 32_000, (at + len(question)) / 32_000
    assert 0.4 <= begin <= 1.05 and end >= 1.0 + len(spoken_question) / 16_000 - 0.3


def test_two_questions_are_two_and_silence_is_none(spoken_question):
    vad = VoiceActivity(VadSettings(), 16_000)
    audio = with_silence(spoken_question, 0.5, 1.2) * 2
    kinds = [part.kind for chunk in chunks(audio, 3000) for part in vad.feed(chunk) if part.kind != "more"]
    assert kinds == ["start", "end", "start", "end"]
    noise = np.random.default_rng(1).normal(0, 200, 48_000).astype("<i2").tobytes()
    assert VoiceActivity(VadSettings(), 16_000).feed(noise) == []


def test_a_short_word_does_not_interrupt_an_answer(spoken_question):
    settings = VadSettings(barge_in_seconds=0.8)
    burst = with_silence(spoken_question[4000:8800], 0.5, 1.0)  # 0.3 s of speech
    assert VoiceActivity(settings, 16_000).feed(burst, answering=True) == []
    assert VoiceActivity(settings, 16_000).feed(burst, answering=False)[0].kind == "start"
    long = with_silence(spoken_question, 0.5, 1.0)
    assert VoiceActivity(settings, 16_000).feed(long, answering=True)[0].kind == "start"


def test_a_rate_that_the_network_cannot_take_is_refused():
    with pytest.raises(ValueError, match="use manual turns"):
        VoiceActivity(VadSettings(), 24_000)
