"""The held-out sets of natural speech: whose voices they are, and what differs between them."""

from __future__ import annotations

import numpy as np
import pytest

from training.data.world import heldout
from training.data.world.voices import NATURAL_SEEN, NATURAL_UNSEEN, Voice

SEED = heldout.SEEDS[0]


@pytest.fixture
def spoken_by_espeak(monkeypatch):
    monkeypatch.setattr(heldout, "draw_natural_voice", lambda rng, unseen: Voice("en-us+f4", rng.choice((150, 160))))


def test_training_hears_none_of_the_natural_voices(monkeypatch):
    monkeypatch.setattr("training.data.world.voices.missing", lambda engine: "")
    voices = [heldout.natural_voice(heldout.world(SEED), "question", index) for index in range(100)]
    assert {(voice.engine, voice.name) for voice in voices} == {
        (engine, name) for engine, names in NATURAL_UNSEEN.items() for name in names
    }
    assert not any(voice.name in NATURAL_SEEN.get(voice.engine, ()) for voice in voices)


def test_the_same_questions_are_heard_in_quiet_from_a_telephone_and_in_noise(spoken_by_espeak):
    sets = (heldout.natural_questions, heldout.telephone_questions, heldout.noisy_questions)
    ways = [list(questions(SEED, 8)) for questions in sets]
    said = [[(one.about["wpm"], one.about["kind"], audio(one)["transcript"]) for one in way] for way in ways]
    assert said[0] == said[1] == said[2] and len({kind for _, kind, _ in said[0]}) == 7
    for quiet, telephone, _ in zip(*ways, strict=True):
        assert high(telephone) < 0.002 < high(quiet)  # a line lets nothing through above 3,400 Hz
    quiet, _, noisy = (np.mean([before_speech(one) for one in way]) for way in ways)
    assert noisy > 1.5 * quiet


def audio(sample) -> dict:
    return sample.messages[0]["content"][-1]


def high(sample) -> float:
    """The share of the power above 4.5 kHz."""
    power = np.abs(np.fft.rfft(audio(sample)["audio"])) ** 2
    return float(power[len(power) * 9 // 16 :].sum() / power.sum())


def before_speech(sample) -> float:
    """How loud the first 40 ms are, of the whole."""
    heard = audio(sample)["audio"]
    return float(np.sqrt(np.mean(heard[:640] ** 2) / np.mean(heard**2)))


@pytest.mark.parametrize("sort", ["backchannel", "music", "overheard"])
def test_what_must_not_be_answered_is_of_its_sort(spoken_by_espeak, sort: str):
    samples = list(heldout.unanswered(SEED, 6, sort))
    assert {sample.about["kind"] for sample in samples} == {sort}
    assert {sample.state for sample in samples} == {"nothing"}


def test_each_question_is_complete_and_cut_short(spoken_by_espeak):
    ends = list(heldout.natural_ends_of_turns(SEED, 3))
    assert [sample.messages[-1]["complete"] for sample in ends] == [True, False] * 3
