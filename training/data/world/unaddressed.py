"""Speech that is not addressed to the model, which must not answer it: statements, and talk to another person."""

from __future__ import annotations

import random

from training.data.world.questions import phrase
from training.data.world.vocabulary import DAYS

NAMES = ("tom", "anna", "mary", "john")
KIN = ("mother", "father", "the doctor", "my brother", "her sister")
GOODS = ("bread", "coffee", "money", "shoes", "letters", "flowers")
PLACES = ("house", "school", "garden", "office", "station")
SENTENCES = (
    "{name} said that the train was late.",
    "we should call {kin} on {day}.",
    "she told {name} about the {place}.",
    "he went to the {place} with {kin}.",
    "they bought {goods} at the {place} on {day}.",
    "{name}, did you buy the {goods}?",
    "{name}, please bring {goods} to the {place}.",
    "i think {name} forgot the {goods} again.",
    "{kin} will be at the {place} on {day}.",
    "{name} and {other} went home after work.",
    "the meeting with {name} was on {day}.",
    "he never talks about {kin}.",
    "we had {goods} and went to the {place}.",
    "she will send the {goods} to {kin}.",
    "it rained on {day}, so {name} stayed home.",
    "{name}, where did {other} put the {goods}?",
)


def unaddressed(split: str, rng: random.Random) -> str:
    """A sentence of this split that is not addressed to the model."""
    while True:
        name, other = rng.sample(NAMES, 2)
        gaps = {
            "name": name, "other": other, "kin": rng.choice(KIN), "goods": rng.choice(GOODS),
            "place": rng.choice(PLACES), "day": rng.choice(DAYS),
        }  # fmt: skip
        if text := phrase((rng.choice(SENTENCES),), gaps, split, rng):
            return text
