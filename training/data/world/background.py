"""What sounds behind speech: noise, other people who talk, music. Pieces of long tracks that each process makes once.

Notable points:
- The tracks are the same in every process and under every seed; where a piece begins is random.
- The held-out split has noises of its own, talkers of unseen voices, and tunes in timbres that training has not.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from training.data.sample import SAMPLE_RATE
from training.data.world import noise
from training.data.world.music import music
from training.data.world.speech import speak
from training.data.world.splits import generator
from training.data.world.unaddressed import unaddressed
from training.data.world.voices import draw_voice

SECONDS = 16  # of a track
TRACKS = 10  # of each noise, of talkers, and of tunes, in each split
TALKERS = (3, 6)  # who talk at the same time, at least and at most
# Sort → how often. White and pink noise and hum are steady.
SORTS = {"white": 2, "pink": 3, "hum": 2, "babble": 4, "music": 2}
HELD_SORTS = {"pink": 2, "brown": 2, "hum": 1, "babble": 4, "music": 2}


def background(count: int, split: str, rng: np.random.Generator) -> np.ndarray:
    """`count` samples of any sort of background of a split, float32 at 16 kHz, of root mean square 1."""
    sorts = SORTS if split == "train" else HELD_SORTS
    sort = rng.choice(list(sorts), p=np.array(list(sorts.values())) / sum(sorts.values()))
    if sort == "babble":
        sound = babble(count, split, rng)
    elif sort == "music":
        sound = piece(tune(split, int(rng.integers(TRACKS))), count, rng)
    else:
        sound = steady(str(sort), count, rng)
    return sound / max(float(np.sqrt(np.mean(sound**2))), 1e-6)


def piece(track: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` samples of a track from a random place on; after its end it begins again."""
    start = int(rng.integers(len(track)))
    return np.take(track, np.arange(start, start + count), mode="wrap")


def babble(count: int, split: str, rng: np.random.Generator) -> np.ndarray:
    """`count` samples of several people who talk at the same time."""
    numbers = rng.choice(TRACKS, int(rng.integers(TALKERS[0], TALKERS[1] + 1)), replace=False)
    return sum(piece(talker(split, int(number)), count, rng) for number in numbers)


def steady(sort: str, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` samples of a noise of `training.data.world.noise`."""
    return piece(noise_track(sort, int(rng.integers(TRACKS))), count, rng)


@cache
def noise_track(sort: str, number: int) -> np.ndarray:
    return getattr(noise, sort)(SECONDS * SAMPLE_RATE, np.random.default_rng(number))


@cache
def tune(split: str, number: int) -> np.ndarray:
    return music(SECONDS * SAMPLE_RATE, split, np.random.default_rng(number))


@cache
def talker(split: str, number: int) -> np.ndarray:
    """A track of one voice of espeak-ng that talks to somebody else; of root mean square 1."""
    rng = generator("talker", split, number)
    voice = draw_voice(rng, unseen_voice=split == "heldout")
    talk = np.concatenate([speak(unaddressed(split, rng), voice) for _ in range(SECONDS // 3)])
    return talk / np.sqrt(np.mean(talk**2))
