"""A question asked again about another scene or video: one spoken question is heard with many, and many answers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations
from random import Random

from training.data.world.pictures import Style
from training.data.world.plans import Plan, Question, compared, names, relations
from training.data.world.questions import PLANS, in_other_words, moving_names
from training.data.world.scenes import COUNTS, Scene, Thing, draw_scene
from training.data.world.splits import belongs
from training.data.world.videos import Motion, draw_motion
from training.data.world.vocabulary import COLOURS, SHAPES, SIZES
from training.data.world.wordings import WORDINGS

TRIES = 1000
NAMED = re.compile(f"the (?:({'|'.join(SIZES)}) )?(?:({'|'.join(COLOURS)}) )?({'|'.join(SHAPES)})\\b")


def asked_again(
    question: Question, split: str, rng: Random, counts: tuple[int, ...] = COUNTS
) -> tuple[Scene, str] | None:
    """A scene of this split, with as many shapes as one of `counts`, and the question's answer there; None if no scene
    is found that it fits.

    Scenes and questions are drawn as ever until the same is asked, so its answers are as frequent as among all.
    """
    for _ in range(TRIES):
        scene = scene_for(question, rng, counts)
        for plan in plans_of(question, scene, rng):
            if plan.form == question.form and asks(plan, question.text) and belongs(f"scene: {scene}", split):
                return scene, plan.answer
    return None


def plans_of(question: Question, scene: Scene, rng: Random) -> Iterator[Plan]:
    """What may be asked about a scene: drawn as ever, or all relations between what the question names, since one of
    them is rarely drawn."""
    if question.kind == "relation":
        yield from comparisons(scene, question.text)
    elif plan := PLANS[question.kind](scene, rng):
        yield in_other_words(plan, rng)


def comparisons(scene: Scene, text: str) -> Iterator[Plan]:
    """All relations between two shapes with names that are in the text."""
    named = [(thing, name) for thing in scene.shapes for name in names(thing, scene) if name in text]
    for one, another in permutations(named, 2):
        for relation in relations(one[0], another[0]):
            yield compared(relation, one, another, either=" or " in text)


def scene_for(question: Question, rng: Random, counts: tuple[int, ...]) -> Scene:
    """A scene for a question of this kind. Two things of certain names are rarely drawn together, so those that a
    question of relation names are put in; where they are is open."""
    scene = draw_scene(rng, counts)
    named = NAMED.findall(question.text) if question.kind == "relation" else ()
    if len(scene.shapes) < len(named):
        return scene
    chosen = dict(zip(rng.sample(scene.shapes, len(named)), named, strict=True))
    return Scene(tuple(renamed(thing, *chosen.get(thing, ("", "", ""))) for thing in scene.things))


def renamed(thing: Thing, size: str, colour: str, shape: str) -> Thing:
    """The thing with what is not "" of these."""
    return replace(thing, size=size or thing.size, colour=colour or thing.colour, shape=shape or thing.shape)


def asks(plan: Plan, text: str) -> bool:
    """Whether the text is one of the plan's wordings."""
    gaps = dict(plan.gaps)
    return all(value in text for value in gaps.values()) and any(
        text == wording.format(**gaps) for wording in WORDINGS[plan.wordings]
    )


def moved_again(question: Question, split: str, rng: Random, style: Style) -> Motion | None:
    """A motion of this split that the question fits; None if none is found."""
    for _ in range(TRIES):
        motion = draw_motion(rng, split, style)
        names = [name for name in moving_names(motion.asked.thing, motion.other is None) if name in question.text]
        if any(question.text == wording.format(thing=name) for name in names for wording in WORDINGS["moves"]):
            return motion
    return None
