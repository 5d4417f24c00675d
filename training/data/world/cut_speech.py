"""Sentences as they are said up to a pause, and whole, with little silence behind them.

Notable points:
- A sentence is cut between two words, with what is left said as before a comma, as a sentence of its own, or as inside
  the whole one. Some break off after a few sounds, as a sentence that has only begun.
- Whole sentences may have a pause inside them, or a last word that trails off. All have as much silence behind them, so
  that only what was said tells them apart.
"""

from __future__ import annotations

import random

import numpy as np

from training.data.sample import SAMPLE_RATE
from training.data.world.recording import pad, recorded
from training.data.world.speech import speak
from training.data.world.speech.espeak import speaker
from training.data.world.spoken import Utterance
from training.data.world.voices import Voice
from training.data.world.whole_questions import cut_places

CUTS = {"before a comma": 9, "as a sentence": 3, "inside": 5, "begun": 3}  # how often
WHOLES = {"plain": 5, "paused": 3, "trailing": 2}
BEFORE = (0.05, 0.35)  # seconds of silence in front
BEHIND = ((0.06, 0.2), (0.06, 0.2), (0.2, 0.6))  # seconds of silence behind: a pause is noticed after about 0.1
BEGUN = (0.2, 0.5)  # seconds of a sentence that has only begun
BEGUN_BEHIND = (0.0, 0.1)
PAUSE = (0.2, 0.8)  # seconds, inside a whole sentence
DRAWN_OUT, LOWER = 0.6, 15  # of a last word that trails off: share of the speed, of the pitch less (0 … 100)
VOICED = 0.02  # of full scale: a sample of clean speech above it is voiced
EDGE = 0.02  # seconds beside voiced samples that are kept: soft sounds
FADE = 0.01  # seconds, so that a cut makes no click


def cut_short(text: str, voice: Voice, rng: random.Random) -> Utterance:
    """The beginning of a sentence; its transcript is "" where it ends inside a word.

    Raises `IndexError` for a text without a place to cut it.
    """
    how = drawn(CUTS, rng)
    if how == "begun":
        audio = faded(trimmed(speak(text, voice))[: samples(rng.uniform(*BEGUN))])
        return Utterance("", voice, record(audio, BEGUN_BEHIND, rng))
    words = text.split(" ")
    left = " ".join(words[: rng.choice(cut_places(text))])
    audio = up_to(text, len(left) + 1, voice) if how == "inside" else None
    if audio is None:
        audio = speak(left.rstrip(",") + ("" if how == "as a sentence" else ","), voice)
    return Utterance(left, voice, record(trimmed(audio), rng.choice(BEHIND), rng))


def whole(text: str, voice: Voice, rng: random.Random) -> Utterance:
    """A whole sentence."""
    how, words = drawn(WHOLES, rng), text.split(" ")
    if how == "plain" or len(words) == 1:
        return Utterance(text, voice, record(trimmed(speak(text, voice)), rng.choice(BEHIND), rng))
    count = rng.randrange(1, len(words)) if how == "paused" else len(words) - 1
    silence = samples(rng.uniform(*PAUSE)) if how == "paused" else 0
    slow = Voice(voice.name, round(DRAWN_OUT * voice.wpm), max(0, voice.pitch - LOWER))
    before = trimmed(speak(" ".join(words[:count]).rstrip(",") + ",", voice))
    after = trimmed(speak(" ".join(words[count:]), voice if how == "paused" else slow))
    audio = np.concatenate([before, np.zeros(silence, np.float32), after])
    return Utterance(text, voice, record(audio, rng.choice(BEHIND), rng))


def drawn(weights: dict[str, int], rng: random.Random) -> str:
    """One of the names, each as often as its weight says."""
    return rng.choices(list(weights), list(weights.values()))[0]


def samples(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE)


def up_to(text: str, place: int, voice: Voice) -> np.ndarray | None:
    """The sentence up to the word at this place in the text; None where it is said together with the one before."""
    audio, starts = speaker().speak_words(text, voice.name, voice.wpm, voice.pitch)
    return faded(audio[: samples(starts[place])]) if place in starts else None


def trimmed(audio: np.ndarray) -> np.ndarray:
    """Clean speech without the silence in front and behind."""
    voiced = np.flatnonzero(np.abs(audio) > VOICED)
    if not len(voiced):
        return audio
    return audio[max(0, voiced[0] - samples(EDGE)) : voiced[-1] + 1 + samples(EDGE)]


def faded(audio: np.ndarray) -> np.ndarray:
    """The audio with its end faded out."""
    end = min(len(audio), samples(FADE))
    return np.concatenate(
        [audio[: len(audio) - end], audio[len(audio) - end :] * np.linspace(1, 0, end, dtype=np.float32)]
    )


def record(audio: np.ndarray, behind: tuple[float, float], rng: random.Random) -> np.ndarray:
    """Clean speech as a microphone has it, with silence in front and, between two lengths in seconds, behind."""
    silent = pad(audio, rng.uniform(*BEFORE), max(0.0, rng.uniform(*behind) - EDGE))
    return recorded(silent, np.random.default_rng(rng.getrandbits(64)))
