"""Sounds that must not be answered and have no words: noise, music, sounds of a mouth, many people at once."""

from __future__ import annotations

import numpy as np

from training.data.sample import SAMPLE_RATE
from training.data.world.background import babble
from training.data.world.music import music
from training.data.world.noise import noise_clip
from training.data.world.recording import Recording, padded
from training.data.world.vocal import mouth_sound

SORTS = ("noise", "music", "babble", "hum", "cough or laugh")
HUMS = ("mhm", "mhm", "uh huh", "uh huh", "hmm", "exclamation")
MOUTH = ("cough", "laughter")
HELD_MOUTH = ("cough", "cough", "laughter", "laughter", "throat clearing", "breath")  # the last two are held out
SECONDS = (0.8, 4.0)  # of music and babble


def sound_clip(sort: str, split: str, rng: np.random.Generator, record: Recording) -> np.ndarray:
    """A sound as `record` has it, float32 at 16 kHz. `sort`: one of `SORTS`."""
    if sort == "noise":
        return noise_clip(split, rng)[1]
    return record(sound(sort, split, rng), rng)


def sound(sort: str, split: str, rng: np.random.Generator) -> np.ndarray:
    """A sound as it is made, with silence around what a mouth makes."""
    count = int(rng.uniform(*SECONDS) * SAMPLE_RATE)
    match sort:
        case "music":
            return music(count, split, rng)
        case "babble":
            return 0.1 * babble(count, split, rng)
        case "hum":
            names = HUMS
        case _:
            names = MOUTH if split == "train" else HELD_MOUTH
    return padded(0.5 * mouth_sound(names[rng.integers(len(names))], rng), rng)
