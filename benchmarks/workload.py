"""What the benchmarks say, all held out of training: spoken questions about pictures, of all kinds in turn; dialogues
of such questions by speakers who pause and trail off; small talk, for talkers without a picture.

The same seed gives the same questions.
"""

from __future__ import annotations

import io
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count, cycle

import numpy as np
import soxr

from benchmarks.clip import Clip, Dialogue
from benchmarks.manners import KINDS, Said, spoken, voiced
from training.data.sample import SAMPLE_RATE, parts, text_of
from training.data.world.questions import PICTURE_KINDS
from training.data.world.recording import lightly_recorded, pad
from training.data.world.smalltalk import small_talk
from training.data.world.spoken import say
from training.data.world.voices import draw_natural_voice, draw_voice
from training.data.world.world import World

VOICES = {  # that training has not heard: how one is drawn
    "espeak": partial(draw_voice, unseen_voice=True),
    "natural": partial(draw_natural_voice, unseen=True),
}
MIX = (*3 * ("plain",), *2 * ("pause",), "trail")  # of the questions of a dialogue
ROOM_NOISE_DB = (-60.0, -45.0)  # of full scale
ROOM = (0.3, 1.5)  # seconds of noise alone, before and after a question of a dialogue


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
        audio = say(text, draw_voice(rng), rng, lightly_recorded).audio
        yield Spoken(kind, text, (audio * 32767).astype("<i2").tobytes(), file.getvalue())


def small_talk_clips(seed: int, sample_rate: int) -> Iterator[Clip]:
    """Sentences without end, each in a voice of its own, over a faint noise."""
    world = World(seed, "heldout")
    for index in count():
        rng = world.rng("said", index)
        text = small_talk("heldout", rng).text
        yield _clip(spoken("plain", text, draw_voice(rng), rng), sample_rate, rng)


def dialogues(seed: int, kinds: Sequence[str] = KINDS, voices: str = "espeak") -> Iterator[Dialogue]:
    """Dialogues without end, each of six questions in one voice that training has not heard, about its own picture.

    `kinds`: the manners in which they are said, as often as `MIX` has them. `voices`: one of `VOICES`. Raises
    `ValueError` for natural ones where none is installed.
    """
    world = World(seed, "heldout")
    for index in count():
        sample, rng = world.dialog(index, small_talk_share=0.0, captioned=0.0), world.rng("dialogue aloud", index)
        texts = [text_of(message) for message in sample.messages if message["role"] == "user"]
        voice, file = VOICES[voices](rng), io.BytesIO()
        parts(sample.messages[0]["content"])[0]["image"].save(file, "PNG")
        said = [spoken(kind, text, voice, rng) for kind, text in zip(_manners(kinds, rng), texts, strict=False)]
        yield Dialogue(file.getvalue(), [_clip(each, SAMPLE_RATE, rng, ROOM) for each in said])


def _manners(kinds: Sequence[str], rng: random.Random) -> Iterator[str]:
    """Without end."""
    mix = [kind for kind in MIX if kind in kinds]
    rng.shuffle(mix)
    return cycle(mix)


def _clip(said: Said, sample_rate: int, rng: random.Random, room: tuple[float, float] = (0.0, 0.0)) -> Clip:
    """Clean speech, in a room with a faint noise; `room`: seconds of noise alone, before and after it."""
    clean = said.audio if sample_rate == SAMPLE_RATE else soxr.resample(said.audio, SAMPLE_RATE, sample_rate, "HQ")
    clean = pad(clean / max(1.0, float(np.abs(clean).max())), *room, sample_rate)
    level = 10 ** (rng.uniform(*ROOM_NOISE_DB) / 20)
    noise = np.random.default_rng(rng.getrandbits(64)).standard_normal(len(clean), np.float32) * level
    audio = (np.clip(clean + noise, -1, 1) * 32767).astype("<i2")
    return Clip(said.text, audio, sample_rate, voiced(clean), said.kind, said.pause, said.whole_before)
