"""The recognisers that listen to the model's speech, and how their transcripts are compared with what was said."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

import numpy as np
import soxr

from training.data.world.judges import SIZES, Whisper
from training.data.world.questions import words_of
from training.data.world.recogniser import SAMPLE_RATE, Recogniser
from training.data.world.vocabulary import NUMBERS, one_spelling
from training.evaluation.suites.synthesis import Judge

BASE = SIZES[0]  # of Whisper
SPELLED = re.compile(r"\b[A-Z]{2,}\b")  # letters that are said one by one: "CAT"
SIGNS = {"+": " plus ", "=": " is ", "%": " percent "}
MINUS = re.compile(r"(?<=\d) +[-–−] +(?=\d)")
TOKEN = re.compile(r"[a-z']+|\d+")
SPELLINGS = {"center": "centre", "ok": "okay"}  # of words that are said alike, as the world's


def open_words(text: str) -> str:
    """The words of a text, or of a transcript in any spelling, as the world writes them: numbers and signs as words,
    letters one by one, British spellings, no punctuation."""
    text = SPELLED.sub(lambda found: " ".join(found[0]), MINUS.sub(" minus ", text))
    for sign, word in SIGNS.items():
        text = text.replace(sign, word)
    tokens = TOKEN.findall(one_spelling(text.lower()))
    words = (NUMBERS[int(token)] if token.isdigit() and int(token) < len(NUMBERS) else token for token in tokens)
    return " ".join(SPELLINGS.get(word, word) for word in words)


@cache
def pocketsphinx() -> Judge:
    """Knows only the words of the world, and which follow each other."""
    return Judge(at_its_rate(Recogniser().transcribe), lambda text: " ".join(words_of(text)))


@cache
def whisper_base() -> Judge:
    """Knows any word."""
    return Judge(at_its_rate(Whisper(BASE).transcribe), open_words)


def at_its_rate(transcribe: Callable[[np.ndarray], str]) -> Callable[[np.ndarray, int], str]:
    """A recogniser of audio at 16 kHz → one of audio at any rate."""
    return lambda audio, rate: transcribe(soxr.resample(audio, rate, SAMPLE_RATE))


def lacks_whisper() -> str:
    """What Whisper base needs that is not installed."""
    return f"Whisper base is not installed: {BASE.missing}" if BASE.missing else ""
