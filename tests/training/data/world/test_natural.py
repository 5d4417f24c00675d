"""Dialogues in natural voices."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from training.data.sample import parts
from training.data.world import World, speech
from training.data.world.absent import NO_PICTURE
from training.data.world.natural import DIALOGUES, about_new_picture, natural, negative
from training.data.world.pools import SHARES, Pools
from training.data.world.spoken import SAID

WORLD, POOLS = World(0, "train"), Pools(0, tuple(SHARES))


@pytest.fixture(autouse=True)
def said(monkeypatch):
    """Speech of half a second, and (text, voice) of all that was said."""
    heard = []

    def speak(text, voice, sample_rate=16_000):
        heard.append((text, voice))
        return np.full(sample_rate // 2, 0.1, np.float32)

    monkeypatch.setattr(speech, "speak", speak)
    return heard


@pytest.mark.parametrize("source", DIALOGUES)
def test_every_source_gives_dialogues_that_say_nothing_but_clips(source, said):
    made = [sample for index in range(24) if (sample := natural(WORLD, POOLS, source, index))]
    assert 6 < len(made) < 24
    assert all(sample.messages[-1]["role"] == "assistant" for sample in made)
    listed = {
        (text, engine) for engine in POOLS.engines for name in (*DIALOGUES[source][1], *SAID) for text in texts(name)
    }
    spoken = [(text, voice) for text, voice in said if voice.engine == "kokoro"]
    assert spoken and all((text, "kokoro") in listed for text, _ in spoken)


def texts(name: str) -> set[str]:
    pool = POOLS[name]
    return {pool.clip("kokoro", number).text for number in range(pool.size("kokoro"))}


def test_a_sample_is_the_same_twice():
    one, same = (natural(WORLD, POOLS, "spoken_single_questions", 3) for _ in range(2))
    if one:
        assert one.messages[-1] == same.messages[-1] and one.about == same.about


def test_one_clip_is_asked_about_many_pictures():
    clip = next(clip for clip in POOLS["picture_questions"].draw(Random(1)) if clip.question.kind != "relation")
    turns = [about_new_picture(WORLD, clip, Random(seed)) for seed in range(12)]
    assert {parts(asked["content"])[-1]["transcript"] for asked, _ in turns} == {clip.text}
    assert len({answer["content"] for _, answer in turns}) > 1


def test_without_a_picture_it_asks_for_one():
    made = [sample for index in range(20) if (sample := natural(WORLD, POOLS, "spoken_no_picture", index))]
    assert made and all(sample.messages[-1]["content"] == NO_PICTURE for sample in made)
    assert not any(part["type"] == "image" for one in made for part in parts(one.messages[0]["content"]))


def test_two_pictures_are_shown_one_after_the_other():
    made = [sample for index in range(20) if (sample := natural(WORLD, POOLS, "spoken_two_pictures", index))]
    for sample in made:
        first, second = (parts(message["content"])[0]["image"] for message in sample.messages[::2])
        assert np.any(np.asarray(first) != np.asarray(second))


def test_what_must_not_be_answered_is_said_by_any_natural_voice(said):
    made = [negative(WORLD, POOLS, index) for index in range(60)]
    assert {sample.state for sample in made} == {"nothing"}
    engines = {voice.engine for _, voice in said}
    assert engines == {*SHARES, "espeak"}
    assert not any(voice.engine != "espeak" for _, voice in said_without_engines(said))


def said_without_engines(said: list) -> list:
    said.clear()
    for index in range(20):
        negative(WORLD, Pools(0, ()), index)
    return said
