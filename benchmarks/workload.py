"""The questions of the benchmarks: spoken, about pictures, all kinds one after the other, all held out of training; and
small talk, for talkers without a picture.

The same seed gives the same questions.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np
import soxr

from benchmarks.clip import Clip
from training.data.sample import SAMPLE_RATE, parts, text_of
from training.data.world.questions import PICTURE_KINDS
from training.data.world.smalltalk import small_talk
from training.data.world.spoken import say
from training.data.world.voices import draw_voice
from training.data.world.world import World

VOICED = 0.02  # of full scale: a clean sample above it is speech
ROOM_NOISE_DB = (-60.0, -45.0)  # of full scale


@dataclass(frozen=True)
class Spoken:
    """A spoken question about a picture."""

    kind: str
    text: str
    audio: bytes  # 16 kHz, 16-bit little-endian
    picture: bytes  # PNG

    @property
    def seconds(self) -> float:
        return len(self.audio) / 2 / SAMPLE_RATE


def questions(seed: int) -> Iterator[Spoken]:
    """Questions without end, each with a picture of its own, so that no embedding is in a cache."""
    world = World(seed, "heldout")
    for index in count():
        kind = PICTURE_KINDS[(index + seed) % len(PICTURE_KINDS)]
        sample, rng = world.question(index, kind), world.rng("asked aloud", index)
        image, _ = parts(sample.messages[0]["content"])
        text, file = text_of(sample.messages[0]), io.BytesIO()
        image["image"].save(file, "PNG")
        audio = say(text, draw_voice(rng), rng).audio
        yield Spoken(kind, text, (audio * 32767).astype("<i2").tobytes(), file.getvalue())


def small_talk_clips(seed: int, sample_rate: int) -> Iterator[Clip]:
    """Sentences without end, each in a voice of its own, over a faint noise."""
    world = World(seed, "heldout")
    for index in count():
        rng = world.rng("said", index)
        text = small_talk("heldout", rng).text
        clean = say(text, draw_voice(rng), rng, recorded=False).audio
        clean = soxr.resample(clean, SAMPLE_RATE, sample_rate, "HQ") / max(1.0, float(np.abs(clean).max()))
        speech = np.flatnonzero(np.abs(clean) > VOICED)
        level = 10 ** (rng.uniform(*ROOM_NOISE_DB) / 20)
        noise = np.random.default_rng(rng.getrandbits(64)).standard_normal(len(clean), np.float32) * level
        audio = (np.clip(clean + noise, -1, 1) * 32767).astype("<i2")
        yield Clip(text, audio, sample_rate, (int(speech[0]), int(speech[-1])))
