"""The recognisers that listen to the model's speech, and how their transcripts are compared with what was said."""

from __future__ import annotations

import re
from functools import cache

import numpy as np
import soxr

from training.data.world.questions import words_of
from training.data.world.recogniser import SAMPLE_RATE, Recogniser
from training.data.world.vocabulary import NUMBERS, one_spelling
from training.evaluation.suites.synthesis import Judge

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
    recogniser = Recogniser()

    def recognise(audio: np.ndarray, rate: int) -> str:
        return recogniser.transcribe(soxr.resample(audio, rate, SAMPLE_RATE))

    return Judge(recognise, lambda text: " ".join(words_of(text)))
