"""How questions are said: pauses as long as they say, unseen voices, the last voiced sample of what is clean."""

from __future__ import annotations

import random
from itertools import islice

import numpy as np
import pytest

from benchmarks.clip import Dialogue
from benchmarks.manners import KINDS, VOICED, spoken, voiced
from benchmarks.workload import dialogues
from training.data.sample import SAMPLE_RATE
from training.data.world.edges import EDGE
from training.data.world.voices import NATURAL_UNSEEN, UNSEEN, Voice

VOICE = Voice("en-us+f4", wpm=160, pitch=50)
TEXT = "where is the red circle?"


def longest_silence(audio: np.ndarray) -> float:
    """Seconds."""
    loud = np.flatnonzero(np.abs(audio) > VOICED)
    return float(np.diff(loud).max()) / SAMPLE_RATE


def test_a_pause_is_as_long_as_it_says():
    for seed in range(3):
        said = spoken("pause", TEXT, VOICE, random.Random(seed))
        assert 0.2 <= said.pause <= 0.8
        assert longest_silence(said.audio) == pytest.approx(said.pause, abs=2 * EDGE)


def test_a_pause_knows_whether_a_question_comes_before_it():
    text = "what is written in the picture?"
    found = {spoken("pause", text, VOICE, random.Random(seed)).whole_before for seed in range(9)}
    assert found == {True, False}  # "what is written", and all else
    assert not spoken("plain", text, VOICE, random.Random(0)).whole_before


def test_a_word_that_trails_off_is_longer_and_softer():
    plain, trailing = (spoken(kind, TEXT, VOICE, random.Random(0)).audio for kind in ("plain", "trail"))
    assert len(trailing) > len(plain)
    end = round(0.1 * SAMPLE_RATE)
    last = [audio[: voiced(audio)[1]][-end:] for audio in (plain, trailing)]
    assert np.abs(last[1]).max() < np.abs(last[0]).max()
    assert spoken("trail", "hello.", VOICE, random.Random(0)).kind == "plain"


def test_silence_is_no_clean_speech():
    with pytest.raises(ValueError, match="no clean speech"):
        voiced(np.zeros(100, np.float32))


def test_a_dialogue_is_of_one_picture_in_all_manners(tmp_path, monkeypatch):
    voices = []

    def noted(kind, text, voice, rng):
        voices.append(voice.name)
        return spoken(kind, text, voice, rng)

    monkeypatch.setattr("benchmarks.workload.spoken", noted)
    dialogue = next(dialogues(1))
    assert sorted(clip.kind for clip in dialogue.clips) == ["pause", "pause", "plain", "plain", "plain", "trail"]
    assert len(set(voices)) == 1 and set(voices) <= set(UNSEEN)
    dialogue.save(tmp_path / "first")
    again = Dialogue.load(tmp_path / "first")
    assert again.picture == dialogue.picture and again.picture.startswith(b"\x89PNG")
    for clip, loaded in zip(dialogue.clips, again.clips, strict=True):
        assert (loaded.text, loaded.kind) == (clip.text, clip.kind)
        assert (loaded.pause, loaded.voiced, loaded.whole_before) == (clip.pause, clip.voiced, clip.whole_before)
        np.testing.assert_array_equal(loaded.audio, clip.audio)


def test_natural_voices_are_those_that_training_has_not_heard(monkeypatch):
    voices = []
    silence = np.ones(16_000, np.float32)
    monkeypatch.setattr("training.data.world.voices.missing", lambda engine: "")
    monkeypatch.setattr("benchmarks.manners.speak", lambda text, voice: voices.append(voice) or silence)
    next(dialogues(1, voices="natural"))
    assert len({voice.engine for voice in voices}) == 1 and len(voices) > 6  # the slow last word too
    assert all(voice.name in NATURAL_UNSEEN[voice.engine] for voice in voices)


def test_only_the_manners_that_were_asked_for_are_used():
    assert {clip.kind for clip in next(dialogues(2, ("pause",))).clips} == {"pause"}
    kinds = {clip.kind for dialogue in islice(dialogues(2), 1) for clip in dialogue.clips}
    assert kinds == set(KINDS)
