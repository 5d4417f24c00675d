"""Captions of a picture, in three variants: in reading order, in random order, and place by place.

In random order the next thing cannot be guessed from the last one, so each must be looked up in the picture.
"""

from __future__ import annotations

import random

from training.data.world.scenes import Scene
from training.data.world.vocabulary import PLACES
from training.data.world.wordings import named

REQUESTS = named(
    (
        "describe the {picture}.", "what do you see?", "what is in the {picture}?", "tell me what you see.",
        "say what is in the {picture}.", "can you describe the {picture}?", "what is this?", "what can you see?",
        "what do you see in the {picture}?", "what can you see in the {picture}?", "describe this {picture}.",
        "what does the {picture} show?", "tell me about this {picture}.", "describe what you see.",
        "tell me what is in this {picture}.", "what is that?",
    )
)  # fmt: skip
THINGS = ("where is what?", "tell me where you see what.", "say where you see what.")
IN_PLACES = ("what is where?", "tell me what is where.", "say what is where.")


def caption(scene: Scene) -> str:
    """For example: "a small red circle at the top left, the word stop at the centre."."""
    return f"{scene}."


def by_thing(scene: Scene, rng: random.Random) -> str:
    """The caption, its things in random order."""
    return ", ".join(map(str, rng.sample(scene.things, len(scene.things)))) + "."


def by_place(scene: Scene, rng: random.Random) -> str:
    """For example: "at the centre the word stop, at the top nothing." Some empty places are named too."""
    held = {thing.place: str(thing).removesuffix(f" {thing.place}") for thing in scene.things}
    empty = rng.sample([place for place in PLACES if place not in held], rng.randint(1, 2))
    places = rng.sample([*held, *empty], len(held) + len(empty))
    return ", ".join(f"{place} {held.get(place, 'nothing')}" for place in places) + "."


def variants(scene: Scene, rng: random.Random) -> list[tuple[str, str]]:
    """A request and a caption for each variant."""
    return [
        (rng.choice(REQUESTS), caption(scene)),
        (rng.choice(THINGS), by_thing(scene, rng)),
        (rng.choice(IN_PLACES), by_place(scene, rng)),
    ]
