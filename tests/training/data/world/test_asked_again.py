"""Questions asked again about another scene, or another video."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from training.data.world.asked_again import asked_again, moved_again
from training.data.world.pictures import ANY, USUAL
from training.data.world.questions import PLANS, ask, ask_moves
from training.data.world.scenes import Scene, scene_of
from training.data.world.splits import belongs
from training.data.world.videos import draw_motion


def question_of(kind: str, rng: Random):
    while not (asked := ask(scene_of(rng, "train", (2, 3, 4)), kind, "train", rng)):
        pass
    return asked


@pytest.mark.parametrize("kind", [kind for kind in PLANS if kind != "relation"])
def test_the_answer_is_that_of_the_new_scene(kind):
    rng = Random(kind)
    for _ in range(4):
        while not (found := asked_again(asked := question_of(kind, rng), "train", rng)):
            assert kind in ("absent", "is_there", "where")  # what they name is rarely drawn
        scene, answer = found
        assert isinstance(scene, Scene) and belongs(f"scene: {scene}", "train")
        # Whatever the scene lets one ask in the same words has this answer.
        again = [ask(scene, kind, "train", rng) for _ in range(100)]
        assert {one.answer for one in again if one and one.text == asked.text} <= {answer}


def test_both_things_of_a_relation_are_in_the_new_scene_wherever():
    rng, ends = Random(5), Counter()
    for _ in range(14):
        if found := asked_again(question_of("relation", rng), "train", rng):
            ends[found[1].rstrip(".").split()[-1]] += 1
    assert ends["yes"] and ends["no"]


def test_answers_are_as_frequent_as_among_all_questions():
    rng, answers = Random(2), Counter()
    for _ in range(100):
        if found := asked_again(question_of("is_there", rng), "train", rng):
            answers[found[1] == "no, there is not."] += 1
    assert answers.total() > 90 and 30 < answers[True] < 70


@pytest.mark.parametrize("style", [USUAL, ANY])
def test_what_is_asked_about_is_what_moves(style):
    rng, directions = Random(3), set()
    for _ in range(12):
        motion = draw_motion(rng, "train", style)
        asked = ask_moves(motion.asked.thing, motion.asked.direction, motion.other is None, "train", rng)
        again = moved_again(asked, "train", rng, style)
        directions.add(again.asked.direction)
        named = [word for word in (again.asked.thing.colour, again.asked.thing.shape) if word in asked.text]
        assert named or again.other is None or again.asked.thing.size in asked.text
    assert len(directions) == 4


def test_nothing_is_found_for_what_no_scene_lets_one_ask():
    asked = question_of("where", Random(1))
    assert asked_again(type(asked)("where", "where", "where is the moon?", ""), "train", Random(1)) is None
