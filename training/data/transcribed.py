"""Speech with its transcription: what stage 2.1a learns from, whatever it comes from."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Protocol

import numpy as np

from training.data.world import World
from training.data.world.noise import SAMPLE_RATE
from training.data.world.sentences import answer, question, shuffled_words
from training.data.world.spoken import say
from training.data.world.voices import draw_voice

LETTERS_A_WORD = 5.6  # of the world's sentences, spaces included


class Transcribed(Protocol):
    """Utterances by index, at one sample rate. Each is a pure function of its index; training indices never end."""

    sample_rate: int  # Hz
    measures: tuple[str, ...]  # names of the held-out sets

    def seconds(self, index: int) -> float:
        """About how long training utterance `index` lasts, without making it: batches are sorted by this."""

    def utterance(self, index: int) -> tuple[np.ndarray, str]:
        """Training speech, float32 [samples] in [-1, 1], and what is said."""

    def held_out(self, measure: str, index: int) -> tuple[np.ndarray, str]:
        """Held-out speech and what is said."""


@dataclass(frozen=True)
class SpokenWorld:
    """`nano`'s speech: sentences and shuffled words of the world, in many voices, as a microphone has them."""

    seed: int = 0
    mixture: dict[str, float] = field(default_factory=lambda: {"sentences": 50, "shuffled_words": 50})  # percent
    sample_rate: int = SAMPLE_RATE
    measures: tuple[str, ...] = ("sentences", "voices", "speeds")  # unseen: sentences; voices too; speeds too

    def _begin(self, index: int) -> tuple[Random, str]:
        rng = World(self.seed, "train").rng("transcribed", index)
        if rng.choices(*zip(*self.mixture.items(), strict=True))[0] == "shuffled_words":
            return rng, shuffled_words(rng)
        return rng, answer("train", rng) if rng.random() < 0.1 else question("train", rng).text

    def seconds(self, index: int) -> float:
        rng, text = self._begin(index)
        return 60 * len(text) / LETTERS_A_WORD / draw_voice(rng).wpm

    def utterance(self, index: int) -> tuple[np.ndarray, str]:
        rng, text = self._begin(index)
        return say(text, draw_voice(rng), rng).audio, text

    def held_out(self, measure: str, index: int) -> tuple[np.ndarray, str]:
        rng = World(self.seed, "heldout").rng("transcribed", measure, index)
        text = question("heldout", rng, strict=True).text
        return say(text, draw_voice(rng, measure == "voices", measure == "speeds"), rng).audio, text
