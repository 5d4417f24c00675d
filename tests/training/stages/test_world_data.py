"""The sources of the recipe: their samples are dialogues, and none becomes one of the other split."""

from __future__ import annotations

import itertools
from random import Random

import pytest

from training.data.sample import text_of
from training.data.world import World
from training.data.world.pools import Pools
from training.data.world.questions import words_of
from training.data.world.recording import lightly_recorded
from training.data.world.splits import belongs
from training.data.world.voices import ENGINES, NATURAL_SEEN
from training.data.world.wordings import PLAIN, SHAPE_AT
from training.data.world.world import WORD_DROPOUT_WEIGHTS
from training.recipe import STAGES, find_stage
from training.stages import world_data
from training.stages.world_data import (
    EASY_TRANSCRIPTIONS,
    WORD_DURATION,
    WorldData,
    copies,
    repeat_words,
    sources,
    transcription,
    word_dropout_question,
)


def test_every_source_of_the_recipe_makes_samples():
    made = sources(World(0, "train"))
    for stage in STAGES:
        if stage.objective == "next_token":
            for name in stage.nano.mixture:
                assert made[name](3).messages[-1]["role"] == "assistant"


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_word_dropout_never_gives_a_sentence_of_the_other_split(split):
    world = World(0, split)
    pairs = [(word_dropout_question(world, i), world.single(i, WORD_DROPOUT_WEIGHTS)) for i in range(400)]
    changed = [text_of(one.messages[0]) for one, other in pairs if one.messages != other.messages]
    assert len(set(changed)) > (100 if split == "train" else 5)  # few of them are in the smaller split
    assert all(belongs(text, split) for text in changed)
    assert all(one.messages[-1] == other.messages[-1] for one, other in pairs)


def test_plain_questions_have_few_wordings():
    world = World(0, "train")
    plain = {text_of(world.single(i, {"shape": 1}, plain=True).messages[0]) for i in range(400)}
    late = tuple(wording.replace("{place}", "at").rstrip("?.") for wording in SHAPE_AT[PLAIN:])
    assert not any(text.startswith(late) for text in plain)
    assert any(text_of(world.single(i, {"shape": 1}).messages[0]).startswith(late) for i in range(100))
    assert copies(world, 1, plain=True).messages[0] != copies(world, 2, plain=True).messages[0]


def test_every_source_gives_dialogues():
    for name, source in sources(World(0, "train")).items():
        roles = [message["role"] for message in source(7).messages]
        assert roles == ["user", "assistant"] * (len(roles) // 2), name


def test_repeated_words_are_the_same_words_as_long_as_speech():
    sample = World(0, "train").single(3)
    repeated = repeat_words(sample, Random(0))
    picture, text = repeated.messages[0]["content"]
    assert picture is sample.messages[0]["content"][0] and repeated.messages[1] == sample.messages[1]
    runs = [(word, len(list(same))) for word, same in itertools.groupby(text["text"].split())]
    assert [word for word, _ in runs] == words_of(sample.messages[0]["content"][1]["text"])
    assert all(WORD_DURATION[0] <= length <= WORD_DURATION[1] for _, length in runs)


def test_a_copy_is_what_was_asked_for():
    for question, answer in zip(*[iter(copies(World(0, "train"), 0).messages)] * 2, strict=True):
        assert question["content"][0]["text"] == f"say, {answer['content']}"


def test_a_stage_of_speech_says_who_speaks_and_who_does_not(monkeypatch):
    monkeypatch.delenv(ENGINES, raising=False)
    monkeypatch.setattr(world_data, "natural_engines", lambda: ("flite",))
    monkeypatch.setattr(world_data, "missing", lambda name: "" if name == "flite" else f"the package of {name}")
    data = {name: WorldData(find_stage(name), find_stage(name).nano, 0, None) for name in ("1.3", "2.1a", "3.1")}
    assert [one.fingerprint for one in data.values()] == ["nano's world", *["nano's world/espeak-ng, flite"] * 2]
    assert data["1.3"].remarks == [] and len(data["2.1a"].remarks) == len(NATURAL_SEEN) - 1
    assert "stage 2.1a learns without kokoro's speech; it needs the package of kokoro" in data["2.1a"].remarks


def test_the_first_transcriptions_are_in_quiet_places_and_not_in_natural_voices(monkeypatch):
    heard, recorded = [], []
    monkeypatch.setattr(world_data, "transcribed_clips", lambda voices, rng: heard.append("natural"))
    monkeypatch.setattr(world_data, "say", lambda text, voice, rng, record: recorded.append(record))
    monkeypatch.setattr(world_data, "audio_part", lambda said: {"type": "audio"})
    world, voices = World(0, "train"), Pools(0, ("hibari",))
    for index in range(40):
        transcription(world, voices, index)
    assert not heard
    assert set(recorded) == {lightly_recorded}
    recorded.clear()
    for index in range(EASY_TRANSCRIPTIONS, EASY_TRANSCRIPTIONS + 60):
        transcription(world, voices, index)
    assert 25 <= len(heard) <= 50  # two thirds
    assert set(recorded) == {world_data.recorded}
    recorded.clear()
    transcription(World(0, "heldout"), Pools(0, ()), 0)  # measured as it is later learned
    assert set(recorded) == {world_data.recorded}
