"""The questions of the benchmarks: spoken, about pictures, all kinds one after the other, all held out of training.

The same seed gives the same questions.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from training.data.sample import SAMPLE_RATE, parts, text_of
from training.data.world.questions import PICTURE_KINDS
from training.data.world.spoken import say
from training.data.world.voices import draw_voice
from training.data.world.world import World


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
