"""The world as speech for the voice: all training voices for the codec, one voice saying answers for the decoder."""

from __future__ import annotations

import random
import re

import numpy as np

from parley.text.clauses import split
from training.data.world.captions import caption
from training.data.world.scenes import scene_of
from training.data.world.sentences import answer, question, shuffled_words
from training.data.world.speech import speaker
from training.data.world.splits import generator

PIECE = re.compile(r"\s?[\w']+|\s?[^\w\s]")


class ManyVoices:
    """Sentences of the world in all training voices: what stage 3.1 learns from (`training.data.transcribed`).

    Args:
        voices: a function from a random generator to (voice, words a minute, pitch).
    """

    measures = ("heldout",)

    def __init__(self, seed: int, sample_rate: int, voices):
        self.seed, self.sample_rate, self.voices = seed, sample_rate, voices

    def seconds(self, index: int) -> float:
        return len(self._text("train", self._rng("train", index))) / 14

    def utterance(self, index: int) -> tuple[np.ndarray, str]:
        return self._say("train", self._rng("train", index))

    def held_out(self, measure: str, index: int) -> tuple[np.ndarray, str]:
        return self._say(measure, self._rng(measure, index))

    def _rng(self, split_name: str, index: int) -> random.Random:
        return generator(self.seed, "many voices", split_name, index)

    def _text(self, split_name: str, rng: random.Random) -> str:
        sort = rng.random()
        if sort < 0.2:
            return shuffled_words(rng)
        return question(split_name, rng).text if sort < 0.5 else answer(split_name, rng)

    def _say(self, split_name: str, rng: random.Random) -> tuple[np.ndarray, str]:
        text = self._text(split_name, rng)
        voice, wpm, pitch = self.voices(rng)
        return speaker().speak(text, voice, wpm, pitch, self.sample_rate), text


class OneVoice:
    """Clauses of answers as the speech decoder service cuts them, in one voice: what stage 3.2 learns from."""

    measures = ("heldout",)

    def __init__(self, seed: int, sample_rate: int, voice: str, wpm: int = 150, pitch: int = 50):
        self.seed, self.sample_rate = seed, sample_rate
        self.voice, self.wpm, self.pitch = voice, wpm, pitch

    def seconds(self, index: int) -> float:
        return len(self._text("train", index)) / 14

    def utterance(self, index: int) -> tuple[np.ndarray, str]:
        return self._say(self._text("train", index))

    def held_out(self, measure: str, index: int) -> tuple[np.ndarray, str]:
        return self._say(self._text(measure, index))

    def _text(self, split_name: str, index: int) -> str:
        """A clause, with the space in front that it has inside an answer."""
        rng = generator(self.seed, "one voice", split_name, index)
        sort = rng.random()
        if sort < 0.25:
            text = shuffled_words(rng)
        elif sort < 0.45:  # of long clauses there are few elsewhere, and in each more can go wrong
            text = caption(scene_of(rng, split_name))
        else:
            text = question(split_name, rng).text if sort < 0.55 else answer(split_name, rng)
        pieces = PIECE.findall(text)
        limits = {"first_words": rng.choice((3, 4, 4, 4, 5)), "later_words": rng.choice((8, 10, 12, 12, 14))}
        clauses = [clause.text for clause in split(list(range(len(pieces))), pieces, **limits) if clause.speakable]
        # Half of the time the first: short ones are common and must be right.
        return clauses[0] if rng.random() < 0.5 else rng.choice(clauses)

    def _say(self, text: str) -> tuple[np.ndarray, str]:
        return speaker().speak(text.strip(), self.voice, self.wpm, self.pitch, self.sample_rate), text
