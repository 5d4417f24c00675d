"""Speech that is not addressed to the model, which must not answer it: statements, talk to another person, and
backchannels, which only say that somebody listens."""

from __future__ import annotations

import random

from training.data.world.questions import phrase
from training.data.world.splits import belongs
from training.data.world.vocabulary import BACKCHANNELS, DAYS

HUMS = ("mhm", "uh huh", "hmm")  # no engine says these well: they are sounds (`vocal`)
SPOKEN = tuple(text for text in BACKCHANNELS if text not in HUMS)

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


def backchannel(split: str, rng: random.Random) -> str:
    """What somebody says who only listens: one of `SPOKEN`, which are in both splits, or two in a row of this split."""
    one, other = rng.choices(SPOKEN, k=2)
    pair = f"{one}, {other}."
    return pair if rng.random() < 0.35 and belongs(pair, split) else f"{one}."
