"""The world as transcribed speech (`training.data.transcribed`): what stages 2.1a, 3.1 and 3.2 learn from."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import numpy as np

from parley.text.clauses import split
from training.data.sample import SAMPLE_RATE
from training.data.world.captions import caption
from training.data.world.pools import SENTENCES, Pools, pools
from training.data.world.recording import lightly_recorded, recorded
from training.data.world.scenes import scene_of
from training.data.world.sentences import answer, held_out_answer, question, shuffled_words
from training.data.world.speech import speak
from training.data.world.splits import generator
from training.data.world.spoken import say, say_in_turn
from training.data.world.voices import Voice, draw_natural_voice, draw_voice, natural_engines
from training.data.world.world import World, draw_kind

# The first utterances are espeak-ng's, in quiet places: CTC writes only blanks at first, and begins sooner so.
EASY = 12_000
TWO = 0.3  # of the recordings in a natural voice: two texts, one after the other
CLAUSES = 12_288  # different ones that stages 3.1 and 3.2 learn from
NARROW = ("flite",)  # at 16 kHz: no sound over 8 kHz
LETTERS_A_WORD = 5.6  # of the world's sentences, spaces included
PIECE = re.compile(r"\s?[\w']+|\s?[^\w\s]")


@dataclass(frozen=True)
class RecordedSentences:
    """Stage 2.1a: sentences and shuffled words in many voices, with a room and noise, at 16 kHz."""

    seed: int
    mixture: Mapping[str, float]  # percent of "sentences" and of "shuffled_words"
    sample_rate: int = SAMPLE_RATE

    @property
    def measures(self) -> tuple[str, ...]:
        """Unseen sentences; with unseen voices; at unseen speeds; in unseen natural voices, where there are any."""
        return ("sentences", "voices", "speeds") + (("natural",) if natural_engines(unseen=True) else ())

    def seconds(self, index: int) -> float:
        return sum(60 * len(text) / LETTERS_A_WORD / voice.wpm for text, voice in self._said(index)[1])

    def utterance(self, index: int) -> tuple[np.ndarray, str]:
        rng, said = self._said(index)
        utterance = say_in_turn(said, rng, lightly_recorded if index < EASY else recorded)
        return utterance.audio, utterance.text

    def held_out(self, measure: str, index: int) -> tuple[np.ndarray, str]:
        rng = World(self.seed, "heldout").rng("transcribed", measure, index)
        text = question("heldout", rng, strict=True).text
        if measure == "natural":
            voice = draw_natural_voice(rng, unseen=True)
        else:
            voice = draw_voice(rng, measure == "voices", measure == "speeds")
        return say(text, voice, rng, lightly_recorded).audio, text

    def _said(self, index: int) -> tuple[random.Random, list[tuple[str, Voice]]]:
        """What is said, one text after the other, and the random generator that chose it."""
        rng = World(self.seed, "train").rng("transcribed", index)
        source = draw_kind(self.mixture, rng)
        if index >= EASY and self._pools.natural(rng):
            clips = self._pools[draw_kind(SENTENCES, rng) if source == "sentences" else source].draw(rng)
            return rng, [(clip.text, clip.voice) for clip in islice(clips, 1 + (rng.random() < TWO))]
        if source == "shuffled_words":
            text = shuffled_words(rng)
        else:
            text = answer("train", rng) if rng.random() < 0.1 else question("train", rng).text
        return rng, [(text, draw_voice(rng))]

    @cached_property
    def _pools(self) -> Pools:
        return pools(self.seed)


@dataclass(frozen=True)
class AnswerClauses:
    """Stage 3.2: `CLAUSES` clauses of answers, cut as the speech decoder service cuts them, in one voice."""

    seed: int
    sample_rate: int  # Hz
    voice: Voice
    measures: tuple[str, ...] = ("heldout",)

    def utterance(self, index: int) -> tuple[np.ndarray, str]:
        return self._speak("train", index % CLAUSES)

    def held_out(self, measure: str, index: int) -> tuple[np.ndarray, str]:
        return self._speak(measure, index)

    def _speak(self, split_name: str, index: int) -> tuple[np.ndarray, str]:
        text = self.clause(split_name, index)
        return speak(text.strip(), self.voice, self.sample_rate), text

    def clause(self, split_name: str, index: int) -> str:
        """A clause, with the space in front that it has inside an answer. In training none is a whole answer that is
        held out."""
        rng = generator(self.seed, "one voice", split_name, index)
        while held_out_answer(text := self._clause(split_name, rng)) and split_name == "train":
            pass
        return text

    def _clause(self, split_name: str, rng: random.Random) -> str:
        pieces = PIECE.findall(self._answer(split_name, rng))
        limits = {"first_words": rng.choice((3, 4, 4, 4, 5)), "later_words": rng.choice((8, 10, 12, 12, 14))}
        clauses = [clause.text for clause in split(list(range(len(pieces))), pieces, **limits) if clause.speakable]
        # Half of the time the first: short ones are common and must be right.
        return clauses[0] if rng.random() < 0.5 else rng.choice(clauses)

    def _answer(self, split_name: str, rng: random.Random) -> str:
        sort = rng.random()
        if sort < 0.25:
            return shuffled_words(rng)
        if sort < 0.45:  # captions have long clauses, which are rare elsewhere and more often go wrong
            return caption(scene_of(rng, split_name))
        return question(split_name, rng).text if sort < 0.55 else answer(split_name, rng)


@dataclass(frozen=True)
class CleanSentences:
    """Stage 3.1: without a room or noise, half in the voice of the answers, which is the only one that it will have to
    write; of the others half natural, where these are installed."""

    seed: int
    sample_rate: int  # Hz
    voice: Voice  # of the answers
    measures: tuple[str, ...] = ("heldout",)

    def utterance(self, index: int) -> tuple[np.ndarray, str]:
        rng = generator(self.seed, "many voices", "train", index)
        if rng.random() < 0.5:
            return AnswerClauses(self.seed, self.sample_rate, self.voice).utterance(index)
        natural = self._wide and rng.random() < 0.5
        text, voice = self._clip(rng) if natural else (self._text("train", rng), draw_voice(rng))
        return speak(text, voice, self.sample_rate), text

    def held_out(self, measure: str, index: int) -> tuple[np.ndarray, str]:
        rng = generator(self.seed, "many voices", measure, index)
        text, voice = self._text(measure, rng), self.voice if rng.random() < 0.5 else draw_voice(rng)
        return speak(text, voice, self.sample_rate), text

    @cached_property
    def _wide(self) -> tuple[str, ...]:
        """The natural engines whose speech has all frequencies."""
        return tuple(name for name in natural_engines() if name not in NARROW)

    def _clip(self, rng: random.Random) -> tuple[str, Voice]:
        clip = next(Pools(self.seed, self._wide)[draw_kind(SENTENCES | {"shuffled_words": 4}, rng)].draw(rng))
        return clip.text, clip.voice

    def _text(self, split_name: str, rng: random.Random) -> str:
        sort = rng.random()
        if sort < 0.2:
            return shuffled_words(rng)
        return question(split_name, rng).text if sort < 0.5 else answer(split_name, rng)
