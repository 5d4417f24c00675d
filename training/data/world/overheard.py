"""Sentences that people say to each other, in words that the world does not have: nothing of them is for the model.

Notable points:
- They are heard and have no transcript: the model cannot write these words, but must know that they are not for it.
- Questions name the person who is asked. One that names nobody might be for the model.
- The gaps are filled first; the sentence then belongs to a split by what it says.
"""

from __future__ import annotations

import random

from training.data.world.questions import phrase

FILLINGS = {
    "person": ("peter", "susan", "michael", "laura", "kevin", "emma", "my boss", "our neighbour", "uncle george"),
    "called": ("peter", "susan", "michael", "laura", "kevin", "emma"),
    "other": ("his wife", "her cousin", "the manager", "grandma", "the twins", "their lawyer"),
    "item": ("the keys", "a new jacket", "the invoice", "some groceries", "that report", "the charger", "two tickets"),
    "where": ("in the kitchen", "at the airport", "downtown", "behind the couch", "upstairs", "at the supermarket"),
    "when": ("yesterday", "last week", "this morning", "after lunch", "around noon", "before the weekend"),
    "topic": ("the budget", "football", "the election", "their holiday", "the traffic", "that movie", "the rent"),
}  # fmt: skip
SENTENCES = (
    "{person} left {item} {where} {when}.",
    "i talked to {other} about {topic} {when}.",
    "honestly, i don't think {person} cares about {topic}.",
    "{called}, could you grab {item} for me?",
    "{called}, did {other} ever mention {topic}?",
    "so then {person} just walked away and forgot {item}.",
    "we're running late, {called}, hurry up.",
    "they were arguing about {topic} {where}.",
    "{other} wants to meet us {where} {when}.",
    "you won't believe what {person} did {when}.",
    "in other news, people are worried about {topic}.",
    "dinner's almost ready, {called}.",
    "she said it was {where}, but {person} couldn't find it.",
    "he was supposed to pick up {item} {when}.",
    "{called}, have you seen {item}?",
    "and now back to our discussion of {topic}.",
    "the guy {where} kept talking about {topic}.",
    "i'm going to bring {item} to {other} {when}.",
    "last time, {person} paid for everything.",
    "stop it, {called}, that's not funny.",
    "apparently {other} sold the house {when}.",
    "it took us three hours to get home {when}.",
    "well, {person} always was a bit strange.",
    "sorry, {called}, i didn't catch that.",
    "ha ha ha, {called}, very funny.",
    "ha ha ha, {person} forgot {item} again.",
)


def overheard(split: str, rng: random.Random) -> str:
    """A sentence of this split that one person says to another."""
    while True:
        gaps = {name: rng.choice(words) for name, words in FILLINGS.items()}
        if text := phrase((rng.choice(SENTENCES),), gaps, split, rng):
            return text
