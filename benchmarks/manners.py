"""How people say a question: in one go, with a pause inside it, or with a last word that trails off.

Clean speech, float32 at 16 kHz, made as what the end-of-turn head is trained on (`training.data.world.cut_speech`),
with a last word that fades, too. The pieces of a question have no silence at their edges, so that a pause is as long as
it says.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from training.data.world.cut_speech import DRAWN_OUT, LOWER, PAUSE
from training.data.world.edges import EDGE, VOICED, samples, trimmed
from training.data.world.speech import speak
from training.data.world.voices import Voice
from training.data.world.whole_questions import is_whole

KINDS = ("plain", "pause", "trail")
FADED = 0.3  # of its loudness, where a word that trails off ends


class Said(NamedTuple):
    text: str
    kind: str
    audio: np.ndarray  # float32 [samples], 16 kHz
    pause: float = 0.0  # seconds of silence that were put into it
    whole_before: bool = False  # what is said before the pause is a question, too


def voiced(audio: np.ndarray) -> tuple[int, int]:
    """The first and the last sample of clean speech. Raises `ValueError` where there is none."""
    loud = np.flatnonzero(np.abs(audio) > VOICED)
    if not len(loud):
        raise ValueError(f"no sample is above {VOICED} of full scale: this is no clean speech")
    return int(loud[0]), int(loud[-1])


def spoken(kind: str, text: str, voice: Voice, rng: random.Random) -> Said:
    """`kind`: one of `KINDS`; a text of one word is said plainly."""
    if kind == "plain" or " " not in text:
        return Said(text, "plain", speak(text, voice))
    return _with_pause(text, voice, rng) if kind == "pause" else Said(text, kind, _trailing_off(text, voice))


def _with_pause(text: str, voice: Voice, rng: random.Random) -> Said:
    """Between any two words; what comes before it sounds as before a comma: the speaker has not finished."""
    words, seconds = text.split(" "), rng.uniform(*PAUSE)
    at = rng.randrange(1, len(words))
    before, after = " ".join(words[:at]), " ".join(words[at:])
    silence = np.zeros(samples(seconds - 2 * EDGE), np.float32)
    pieces = [trimmed(speak(before.rstrip(",") + ",", voice)), silence, trimmed(speak(after, voice))]
    return Said(text, "pause", np.concatenate(pieces), seconds, is_whole(before))


def _trailing_off(text: str, voice: Voice) -> np.ndarray:
    """The last word is drawn out, lower, and fades."""
    before, _, last = text.rpartition(" ")
    slow = replace(voice, wpm=round(DRAWN_OUT * voice.wpm), pitch=max(0, voice.pitch - LOWER))
    word = trimmed(speak(last.rstrip("?.") + ".", slow))
    word = word * np.linspace(1, FADED, len(word), dtype=np.float32)
    return np.concatenate([trimmed(speak(before.rstrip(",") + ",", voice)), word])
