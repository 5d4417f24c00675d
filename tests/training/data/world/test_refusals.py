"""What cannot be answered: the refusals are true, and what is outside the world is held out by template and word."""

from __future__ import annotations

import re

import pytest

from training.data.sample import parts, text_of
from training.data.world import World, outside
from training.data.world.absent import NO_PICTURE
from training.data.world.questions import ask, words_of
from training.data.world.refusals import absent_video, no_picture, outside_talk
from training.data.world.scenes import scene_of
from training.data.world.splits import generator, held_out
from training.data.world.vocabulary import COLOURS, PLACES, SHAPES, SIZES
from training.data.world.wordings import GAP

FEATURES = {"size": SIZES, "colour": COLOURS, "shape": SHAPES}


def pattern(template: str) -> re.Pattern:
    """Of the sentences of a template."""
    fillings = {gap: "|".join(words) for gap, words in outside.FILLINGS.items()}
    return re.compile(GAP.sub(lambda gap: f"({fillings[gap[0][1:-1]]})", re.sub(r"[?.]", r"[?.]", template)))


def features(words: list[str]) -> dict[str, str]:
    return {field: word for field, values in FEATURES.items() for word in words if word in values}


def absent(split: str, count: int = 300):
    for index in range(count):
        rng = generator("absent", split, index)
        scene = scene_of(rng, split)
        if asked := ask(scene, "absent", split, rng):
            yield scene, asked


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_what_cannot_be_seen_is_not_in_the_picture(split):
    hard = several = 0
    for scene, asked in absent(split):
        place = max((place for place in PLACES if place in asked.answer), key=len, default="")
        if asked.answer.startswith("there is nothing"):
            assert place in asked.text and place not in [thing.place for thing in scene.things]
        elif "word" in asked.answer:
            assert not scene.word or (place and scene.word.place != place), (scene, asked)
        else:
            name = asked.answer.removesuffix(".").split(maxsplit=4)[4]  # "i cannot see a …"
            named = features(name.split())
            assert name in asked.text
            assert not named or not any(named.items() <= vars(thing).items() for thing in scene.shapes)
            if len(named) > 1:
                several += 1
                hard += all(any(vars(thing)[f] == value for thing in scene.shapes) for f, value in named.items())
    assert several > 40 and hard / several > 0.35


def test_all_sorts_of_questions_are_asked_about_what_is_not_there():
    forms = {asked.form for _, asked in absent("train")}
    assert forms == {f"absent {kind}" for kind in ("colour", "shape", "where", "relation", "written")}


def test_what_does_not_move_is_not_in_the_video():
    for index in range(20):
        sample = absent_video(World(0, "train"), index)
        name = text_of(sample.messages[-1]).removesuffix(".").split(maxsplit=4)[4]
        assert name in text_of(sample.messages[0]) and f"{name} at" not in sample.about["scene"]


@pytest.mark.parametrize("turns", [1, 3])
def test_without_a_picture_it_asks_for_one(turns):
    for index in range(20):
        messages = no_picture(World(0, "train"), index, turns).messages
        assert {part["type"] for message in messages for part in parts(message["content"])} == {"text"}
        assert messages[-1]["content"] == NO_PICTURE and len(messages) <= 2 * turns


def test_some_templates_and_some_words_are_held_out():
    templates = (*outside.QUESTIONS, *outside.REQUESTS)
    assert len(templates) == len(set(templates)) > 60
    unseen = [text for text in templates if held_out(f"outside: {text}")]
    words = {word for fillings in outside.FILLINGS.values() for word in fillings}
    unseen_words = {word for word in words if held_out(f"outside: {word}")}
    assert len(unseen) > 8 and len(unseen_words) > 10
    patterns = [pattern(text) for text in unseen]
    trained = {outside.ask("train", generator("outside", index)).text for index in range(1500)}
    held = {outside.ask("heldout", generator("outside", index)).text for index in range(300)}
    assert not any(one.fullmatch(text) for one in patterns for text in trained)
    assert not trained & held
    assert all(any(word in text for word in unseen_words) or any(p.fullmatch(text) for p in patterns) for text in held)


def test_it_says_that_it_does_not_know_or_cannot():
    world = World(0, "train")
    for index in range(30):
        sample = outside_talk(world, index, turns=2)
        asked, answered = (text_of(message) for message in sample.messages[-2:])
        assert answered == (outside.UNKNOWN if asked.endswith("?") or "tell me about" in asked else outside.CANNOT)
        assert ("image" in {part["type"] for part in parts(sample.messages[0]["content"])}) == bool(index % 2)
        assert words_of(asked)
