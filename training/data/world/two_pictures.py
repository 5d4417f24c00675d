"""Dialogues in which another picture is shown later: from then on the questions are about that one."""

from __future__ import annotations

import random

from training.data.sample import Sample
from training.data.world.plans import Question
from training.data.world.refusals import about_picture
from training.data.world.scenes import Scene
from training.data.world.smalltalk import small_talk
from training.data.world.world import World, to_messages

TALK_SHARE = 0.25  # of the pictures that small talk stands in front of
AGAIN_SHARE = 0.5  # of the second pictures whose last question is of a kind that the first was asked


def two_pictures(world: World, index: int, most: int = 2) -> Sample:
    """One to `most` questions about a picture, then as many about another; the last answer is about the second."""
    rng, messages, kinds = world.rng("two pictures", index), [], []
    for number in (2 * index, 2 * index + 1):
        scene, image = world.picture(number)
        if rng.random() < TALK_SHARE:
            messages += to_messages([small_talk(world.split, rng).pair])
        kind = rng.choice(kinds) if kinds and rng.random() < AGAIN_SHARE else ""
        asked = _different(world, scene, rng, rng.randint(1, most), kind)
        kinds += [question.kind for question in asked]
        messages += to_messages([question.pair for question in asked], image=image)
    return Sample(messages, "question", "text", {"kind": kinds[-1], "form": asked[-1].form, "scene": str(scene)})


def _different(world: World, scene: Scene, rng: random.Random, count: int, kind: str) -> list[Question]:
    """Up to `count` different questions about the scene, the last one of this kind where the scene allows it."""
    asked = [about_picture(world, scene, rng) for _ in range(count - 1)] + [about_picture(world, scene, rng, kind)]
    return list({question.text: question for question in asked}.values())
