"""Questions cut short: where the cut is, and what is left."""

import numpy as np
import pytest

from training.data.sample import SAMPLE_RATE
from training.data.speak.cuts import cut, pauses
from training.data.speak.draws import draws


def tone(seconds: float) -> np.ndarray:
    return (0.4 * np.sin(2 * np.pi * 300 * np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE)).astype(np.float32)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(int(seconds * SAMPLE_RATE), np.float32)


def test_half_of_the_questions_with_a_pause_are_cut_there():
    question = np.concatenate([silence(0.2), tone(0.8), silence(0.3), tone(1.0), silence(0.2)])
    found = [cut(question, draws(number)) for number in range(60)]
    at_pause = [(audio, how) for audio, how in found if how.at == "pause"]
    assert 15 < len(at_pause) < 45
    for audio, how in at_pause:
        assert how.seconds == pytest.approx(1.0, abs=0.02) and how.whole == pytest.approx(2.5)
        left = int(how.seconds * SAMPLE_RATE)
        assert np.array_equal(audio[: left - 160], question[: left - 160])
        assert not audio[left:].any() and 0.1 <= len(audio[left:]) / SAMPLE_RATE <= 0.5


def test_a_cut_inside_a_clause_is_between_two_sounds_and_keeps_speech_on_both_sides():
    words = np.concatenate([np.concatenate([tone(0.12), 0.1 * tone(0.02)]) for _ in range(12)])
    for number in range(40):
        audio, how = cut(words, draws("clause", number))
        assert how.at == "clause" and 0.3 <= how.seconds <= how.whole - 0.29
        behind = words[int(how.seconds * SAMPLE_RATE) :][:160]
        near_an_end = min(how.seconds, how.whole - how.seconds) < 0.39  # the quiet may be too close to it
        assert near_an_end or np.abs(behind).max() < 0.05  # the quiet between two of the sounds
        assert np.abs(np.diff(audio)).max() <= np.abs(np.diff(words)).max() + 1e-3  # no click


def test_a_short_question_cannot_be_cut():
    assert cut(tone(0.5), draws(0)) is None


def test_pauses_are_silences_inside_speech():
    loud = np.array([0] * 20 + [1] * 5 + [0] * 8 + [1] * 3 + [0] * 7 + [1] * 2 + [0] * 30, bool)
    assert pauses(loud) == [(25, 33)]
