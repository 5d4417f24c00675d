"""Where one word ends and the next begins in speech of engines that do not tell.

The cut is where the speech is softest, near the place that the speech of espeak-ng, which does tell, has in proportion.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from training.data.sample import SAMPLE_RATE
from training.data.world.edges import VOICED, samples
from training.data.world.speech.espeak import speaker

NEAR = 0.08  # seconds before and behind the expected place in which the softest is looked for
FRAME = 0.01  # seconds between the places that are compared; loudness is measured over two of them


def word_start(text: str, place: int, said: np.ndarray) -> int | None:
    """The sample of a sentence, spoken without silence around it, where the word at this place in its text begins; None
    where that word is said together with the one before ("of the")."""
    share = _shares(text).get(place)
    return None if share is None else softest(said, round(share * len(said)))


@lru_cache(maxsize=4096)
def _shares(text: str) -> dict[int, float]:
    """Where each word begins as espeak-ng says it: its place in the text → share of the sentence's length."""
    audio, starts = speaker().speak_words(text, "en-us")
    voiced = np.flatnonzero(np.abs(audio) > VOICED)
    first, last = voiced[0] / SAMPLE_RATE, voiced[-1] / SAMPLE_RATE
    return {place: (start - first) / (last - first) for place, start in starts.items()}


def softest(audio: np.ndarray, expected: int) -> int:
    """The sample near the expected one around which the audio is softest."""
    frame, first = samples(FRAME), max(0, expected - samples(NEAR))
    power = np.convolve(audio[first : expected + samples(NEAR)] ** 2, np.ones(2 * frame, np.float32), "valid")[::frame]
    return first + frame * (1 + int(np.argmin(power)))
