"""How people say a question: in one go, with a pause inside it, or with a last word that trails off.

Clean speech, float32 at 16 kHz. Silence at the edges of the pieces that a question is made of is cut off, so that a
pause is as long as it says.
"""

from __future__ import annotations

import random
from typing import NamedTuple

import numpy as np

from training.data.sample import SAMPLE_RATE
from training.data.world.spoken import say
from training.data.world.voices import Voice

KINDS = ("plain", "pause", "trail")
VOICED = 0.02  # of full scale: a clean sample above it is speech
PAUSE = (0.2, 0.8)  # seconds
DRAWN_OUT = 0.6  # of the speed, the word that trails off
LOWER = 15  # of its pitch, the same (0 … 100)
FADED = 0.3  # of its loudness, where it ends
EDGE = round(0.02 * SAMPLE_RATE)  # samples beside speech that are kept: soft sounds


class Said(NamedTuple):
    text: str
    kind: str
    audio: np.ndarray  # float32 [samples], 16 kHz
    pause: float = 0.0  # seconds of silence that were put into it


def voiced(audio: np.ndarray) -> tuple[int, int]:
    """The first and the last sample of clean speech. Raises `ValueError` where there is none."""
    loud = np.flatnonzero(np.abs(audio) > VOICED)
    if not len(loud):
        raise ValueError(f"no sample is above {VOICED} of full scale: this is no clean speech")
    return int(loud[0]), int(loud[-1])


def spoken(kind: str, text: str, voice: Voice, rng: random.Random) -> Said:
    """`kind`: one of `KINDS`; a text of one word is said plainly."""
    if kind == "plain" or " " not in text:
        return Said(text, "plain", _say(text, voice, rng))
    if kind == "pause":
        return Said(text, kind, *_with_pause(text, voice, rng))
    return Said(text, kind, _trailing_off(text, voice, rng))


def _with_pause(text: str, voice: Voice, rng: random.Random) -> tuple[np.ndarray, float]:
    """Between any two words; what comes before it sounds as before a comma: the speaker has not finished."""
    words, seconds = text.split(" "), rng.uniform(*PAUSE)
    at = rng.randrange(1, len(words))
    before = _cut(_say(" ".join(words[:at]).rstrip(",") + ",", voice, rng))
    after = _cut(_say(" ".join(words[at:]), voice, rng))
    silence = np.zeros(max(0, round(seconds * SAMPLE_RATE) - 2 * EDGE), np.float32)
    return np.concatenate([before, silence, after]), seconds


def _trailing_off(text: str, voice: Voice, rng: random.Random) -> np.ndarray:
    """The last word is drawn out, lower, and fades."""
    before, _, last = text.rpartition(" ")
    slow = Voice(voice.name, round(DRAWN_OUT * voice.wpm), max(0, voice.pitch - LOWER))
    word = _cut(_say(last.rstrip("?.") + ".", slow, rng))
    word = word * np.linspace(1, FADED, len(word), dtype=np.float32)
    return np.concatenate([_cut(_say(before.rstrip(",") + ",", voice, rng)), word])


def _say(text: str, voice: Voice, rng: random.Random) -> np.ndarray:
    return say(text, voice, rng, recorded=False).audio


def _cut(audio: np.ndarray) -> np.ndarray:
    """Without the silence in front and behind."""
    first, last = voiced(audio)
    return np.pad(audio, EDGE)[first : last + 1 + 2 * EDGE]
