"""Voices, speeds and pitches of speech: those of the training split, and held-out ones."""

from __future__ import annotations

import random
from dataclasses import dataclass

# Variants of American English, and four other accents. Whispers, sound effects and unintelligible voices are left out.
SEEN = (
    "en-us", "en-us-nyc", "en-gb-x-rp", "en-gb-scotland",
    *(f"en-us+{name}" for name in (
        "Alex", "Denis", "Diogo", "Gene", "Henrique", "Hugo", "Jacky", "Mike", "Reed", "Storm", "anika", "antonio",
        "aunty", "belinda", "benjamin", "caleb", "david", "ed", "edward", "f1", "f2", "f3", "f5", "grandpa", "iven",
        "john", "klatt", "klatt2", "klatt3", "klatt5", "m1", "m2", "m3", "m4", "m6", "m7", "m8", "max", "miguel",
        "pablo", "robosoft", "robosoft4", "robosoft6", "sandro", "steph", "steph3",
    )),
)  # fmt: skip
UNSEEN = tuple(f"en-us+{name}" for name in ("adam", "announcer", "f4", "linda", "m5", "michel", "paul", "victor"))
SEEN_SPEEDS = ((120, 210),)  # words a minute, both ends included
UNSEEN_SPEEDS = ((95, 115), (215, 240))
PITCHES = (30, 70)


@dataclass(frozen=True)
class Voice:
    """A voice, its speed and its pitch."""

    name: str
    wpm: int  # words a minute
    pitch: int  # 0..100
    engine: str = "espeak"  # of `speech`


def draw_voice(rng: random.Random, unseen_voice: bool = False, unseen_speed: bool = False) -> Voice:
    """A voice of the training split, or a held-out one."""
    low, high = rng.choice(UNSEEN_SPEEDS if unseen_speed else SEEN_SPEEDS)
    return Voice(rng.choice(UNSEEN if unseen_voice else SEEN), rng.randint(low, high), rng.randint(*PITCHES))


# Of the model's answers: the voice that the recogniser understands best.
ANSWER = Voice("en-us+edward", wpm=150, pitch=50)
