"""Speech of the world: real espeak-ng, real noise, the real recogniser."""

import numpy as np
import pytest

from training.data.sample import SAMPLE_RATE, parts, turn_states
from training.data.world import World, heldout
from training.data.world.noise import noise_clip
from training.data.world.questions import words_of
from training.data.world.recogniser import Recogniser
from training.data.world.speech import speak
from training.data.world.speech.espeak import speaker
from training.data.world.splits import generator, held_out
from training.data.world.spoken import NEGATIVES
from training.data.world.unaddressed import unaddressed
from training.data.world.voices import ANSWER, SEEN, SEEN_SPEEDS, UNSEEN, UNSEEN_SPEEDS, draw_voice

TEXT = "what colour is the big red circle?"


def test_every_voice_speaks_and_no_two_alike():
    said = {voice: speaker().say(TEXT, voice) for voice in (*SEEN, *UNSEEN)}
    assert len({samples.tobytes() for samples in said.values()}) == len(SEEN) + len(UNSEEN)
    for voice, samples in said.items():
        assert 0.8 < len(samples) / speaker().sample_rate < 4, voice
        assert np.abs(samples).max() > 2000, voice


def test_faster_is_shorter_and_rates_are_kept():
    slow, fast = (speaker().speak(TEXT, "en-us", wpm) for wpm in (100, 220))
    assert len(slow) > 1.6 * len(fast)
    high = speaker().speak(TEXT, "en-us", 220, sample_rate=24_000)
    assert abs(len(high) / len(fast) - 1.5) < 0.02
    assert high.dtype == np.float32 and np.abs(high).max() <= 1


def test_a_voice_that_is_not_there():
    for name in ("en-us+nobody", "nowhere"):
        with pytest.raises(ValueError, match="espeak-ng has no voice"):
            speaker().say("hello", name)


def test_held_out_voices_and_speeds_are_apart_and_kept_from_training():
    assert not set(SEEN) & set(UNSEEN)
    seen = {draw_voice(generator(index)) for index in range(300)}
    unseen = {draw_voice(generator(index), True, True) for index in range(300)}
    assert {voice.name for voice in unseen} == set(UNSEEN)
    assert all(any(low <= voice.wpm <= high for low, high in SEEN_SPEEDS) for voice in seen)
    assert all(any(low <= voice.wpm <= high for low, high in UNSEEN_SPEEDS) for voice in unseen)
    with pytest.raises(ValueError, match="held out"):
        World().utterance(0, unseen_voice=True)


def test_utterances_are_recorded_speech_of_their_split():
    for index in range(8):
        said = World(1, "heldout").utterance(index)
        assert held_out(said.text)
        assert said.audio.dtype == np.float32 and 0.5 < len(said.audio) / SAMPLE_RATE < 8
        assert 0.01 < np.abs(said.audio).max() <= 1
    assert World(1).utterance(3).text == World(1).utterance(3).text != World(2).utterance(3).text


def test_noise_of_every_sort_is_loud_enough_and_some_is_held_out():
    names = {}
    for split in ("train", "heldout"):
        clips = [noise_clip(split, np.random.default_rng(seed)) for seed in range(80)]
        names[split] = {name for name, _ in clips}
        assert all(1e-4 < np.abs(audio).max() <= 1 and np.isfinite(audio).all() for _, audio in clips)
    assert names["train"] < names["heldout"]


def test_questions_become_spoken_and_pictures_stay():
    written = World(2).dialog(1)
    spoken = World(2).spoken(written, 1, share=1.0)
    assert turn_states(spoken.messages) == ["speech"] * (len(written.messages) // 2)
    first = parts(spoken.messages[0]["content"])
    assert [part["type"] for part in first] == ["image", "audio"]
    for before, after in zip(written.messages, spoken.messages, strict=True):
        if before["role"] == "user":
            assert parts(before["content"])[-1]["text"] == parts(after["content"])[-1]["transcript"]
        else:
            assert before == after
    half = [
        state for index in range(12) for state in turn_states(World(2).spoken(World(2).dialog(index), index).messages)
    ]
    assert 0.3 < half.count("speech") / len(half) < 0.7


def test_what_is_not_for_us_gets_no_answer():
    mixed = World(2).spoken(World(2).dialog(1), 1, share=0.5, negatives=1.0)
    states = turn_states(mixed.messages)
    assert states.count("nothing") == len(states) // 2 and mixed.state == "nothing"
    sounds = set()
    for index in range(20):
        sample = World(2).negative(index)
        assert sample.state == "nothing" == turn_states(sample.messages)[-1]
        assert sample.messages[-1]["content"] == ""
        sounds.add(bool(sample.messages[-2]["content"][-1]["transcript"]))
    assert sounds == {True, False}
    assert {World(2).negative(index).about["kind"] for index in range(80)} == set(NEGATIVES)
    lines = {unaddressed("train", generator(index)) for index in range(500)}
    assert len(lines) > 200 and not any(held_out(line) for line in lines)


def test_held_out_sets_are_the_same_twice_and_hold_what_they_say():
    seed, other, _ = heldout.SEEDS
    asked = list(heldout.questions(seed, 2))
    assert len(asked) == 14 and len({sample.about["kind"] for sample in asked}) == 7
    texts, again, others = (
        [sample.messages[1] for sample in heldout.questions(drawn, 2)] for drawn in (seed, seed, other)
    )
    assert texts == again and texts != others
    spoken = list(heldout.questions(seed, 1, spoken=True, unseen_voice=True))
    assert {sample.about["voice"] for sample in spoken} <= set(UNSEEN)
    states = [sample.state for sample in heldout.states(seed, 4)]
    assert states == ["text", "speech", "nothing"] * 4
    assert all(held_out(said.text) for said in heldout.transcription(seed, 5, unseen_speed=True))
    assert list(heldout.answers(seed, 3)) == list(heldout.answers(seed, 3)) != list(heldout.answers(other, 3))


def test_the_recogniser_hears_the_answer_voice():
    recogniser = Recogniser()
    for text in ("the star is at the centre.", "five plus six is eleven.", "no, there is not."):
        assert recogniser.transcribe(speak(text, ANSWER)) == " ".join(words_of(text))
    assert recogniser.transcribe(np.zeros(0, np.float32)) == ""
