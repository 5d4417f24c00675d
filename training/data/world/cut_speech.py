"""Sentences as they are said up to a pause, and whole, with little silence behind them.

Notable points:
- A sentence is cut between two words, with what is left said as before a comma, as a sentence of its own, or as inside
  the whole one. Some break off after a few sounds, as a sentence that has only begun.
- Whole sentences may have a pause inside them, or a last word that trails off. All have as much silence behind them, so
  that only what was said tells them apart.
- espeak-ng says every part anew. What a natural voice has said whole is mostly cut (`between_words`).
"""

from __future__ import annotations

import random

import numpy as np
import soxr

from training.data.world.between_words import word_start
from training.data.world.edges import EDGE, faded, samples, trimmed
from training.data.world.recording import Recording, pad, recorded
from training.data.world.speech import speak
from training.data.world.speech.espeak import speaker
from training.data.world.splits import generator
from training.data.world.spoken import Utterance
from training.data.world.vocabulary import one_spelling
from training.data.world.voices import Voice
from training.data.world.whole_questions import cut_places

CUTS = {"before a comma": 8, "as a sentence": 3, "inside": 5, "begun": 5}  # how often
NATURAL_CUTS = {"before a comma": 2, "inside": 12, "begun": 5}
WHOLES = {"plain": 5, "paused": 3, "trailing": 2}
BEFORE = (0.05, 0.35)  # seconds of silence in front
BEHIND = ((0.06, 0.2), (0.06, 0.2), (0.2, 0.6))  # seconds of silence behind: a pause is noticed after about 0.1
BEGUN = (0.2, 0.5)  # seconds of a sentence that has only begun
BEGUN_BEHIND = (0.0, 0.1)
PAUSE = (0.2, 0.8)  # seconds, inside a whole sentence
DRAWN_OUT, LOWER = 0.6, 15  # of a last word that trails off: share of the speed, of the pitch less (0 … 100)
SLOWER = (1.1, 1.35)  # times the length of a natural voice's last word, which is as much lower


def cut_short(text: str, voice: Voice, rng: random.Random, record: Recording = recorded) -> Utterance:
    """The beginning of a sentence; its transcript is "" where it may end inside a word.

    Raises `IndexError` for a text without a place to cut it.
    """
    natural, text = voice.engine != "espeak", one_spelling(text)
    how = drawn(NATURAL_CUTS if natural else CUTS, rng)
    if how == "begun":
        return begun(text, voice, rng, record)
    # One beginning is said of each text of a natural voice, so that it is found in the cache later.
    chance = generator("cut", text, voice.name, voice.wpm) if natural and how != "inside" else rng
    left = " ".join(text.split(" ")[: chance.choice(cut_places(text))])
    audio = up_to(text, len(left) + 1, voice) if how == "inside" else None
    known = audio is None or not natural  # else a sound of the next word may be left
    if audio is None:
        audio = speak(left.rstrip(",") + ("" if how == "as a sentence" else ","), voice)
    return Utterance(left if known else "", voice, heard(trimmed(audio), rng.choice(BEHIND), rng, record))


def begun(text: str, voice: Voice, rng: random.Random, record: Recording = recorded) -> Utterance:
    """The first sounds of a sentence."""
    audio = faded(trimmed(speak(text, voice))[: samples(rng.uniform(*BEGUN))])
    return Utterance("", voice, heard(audio, BEGUN_BEHIND, rng, record))


def whole(text: str, voice: Voice, rng: random.Random, record: Recording = recorded) -> Utterance:
    """A whole sentence."""
    text, how = one_spelling(text), drawn(WHOLES, rng)
    words = text.split(" ")
    if how == "plain" or len(words) == 1:
        audio = trimmed(speak(text, voice))
    else:
        count = rng.randrange(1, len(words)) if how == "paused" else len(words) - 1
        halves = said_in_two if voice.engine == "espeak" else split_in_two
        before, after = halves(words, count, voice, how == "trailing", rng)
        silence = samples(rng.uniform(*PAUSE)) if how == "paused" else 0
        audio = np.concatenate([before, np.zeros(silence, np.float32), after])
    return Utterance(text, voice, heard(audio, rng.choice(BEHIND), rng, record))


def said_in_two(words: list[str], count: int, voice: Voice, trailing: bool, rng: random.Random) -> list[np.ndarray]:
    """The first words and the others, each said alone; `trailing`: the others slower and lower."""
    slow = Voice(voice.name, round(DRAWN_OUT * voice.wpm), max(0, voice.pitch - LOWER))
    before = speak(" ".join(words[:count]).rstrip(",") + ",", voice)
    return [trimmed(before), trimmed(speak(" ".join(words[count:]), slow if trailing else voice))]


def split_in_two(words: list[str], count: int, voice: Voice, trailing: bool, rng: random.Random) -> list[np.ndarray]:
    """The same of the sentence said whole; all of it and nothing where it cannot be split there."""
    said = trimmed(speak(" ".join(words), voice))
    at = word_start(" ".join(words), len(" ".join(words[:count])) + 1, said) or len(said)
    before, after = faded(said[:at]), faded(said[at:][::-1])[::-1]
    return [before, soxr.resample(after, 1, rng.uniform(*SLOWER), "MQ") if trailing and len(after) else after]


def drawn(weights: dict[str, int], rng: random.Random) -> str:
    """One of the names, each as often as its weight says."""
    return rng.choices(list(weights), list(weights.values()))[0]


def up_to(text: str, place: int, voice: Voice) -> np.ndarray | None:
    """The sentence up to the word at this place in the text; None where it is said together with the one before."""
    if voice.engine == "espeak":
        audio, starts = speaker().speak_words(text, voice.name, voice.wpm, voice.pitch)
        return faded(audio[: samples(starts[place])]) if place in starts else None
    said = trimmed(speak(text, voice))
    start = word_start(text, place, said)
    return None if start is None else faded(said[:start])


def heard(audio: np.ndarray, behind: tuple[float, float], rng: random.Random, record: Recording) -> np.ndarray:
    """Clean speech as `record` has it, with silence in front and, between two lengths in seconds, behind."""
    silent = pad(audio, rng.uniform(*BEFORE), max(0.0, rng.uniform(*behind) - EDGE))
    return record(silent, np.random.default_rng(rng.getrandbits(64)))
