"""Rows of speech that the model makes: the codec, and spoken answers, with what the recogniser gets wrong anyway."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np

from parley.models.parley import Parley
from training.data.world import heldout
from training.data.world.speech import speak
from training.data.world.voices import ANSWER
from training.evaluation.suites.synthesis import Judge, Spoken, codec_error_rate
from training.evaluation.suites.world.judges import pocketsphinx
from training.evaluation.suites.world.row import Row, nothing
from training.evaluation.table import Measure

CODES = frozenset({"codec_encoder", "codec_decoder"})
SPEAKS = frozenset({"speech_decoder", "codec_decoder"})
CODEC = "codec: WER of decoded speech above the original's"
FLOOR = "of the synthesizer's own speech: the recogniser's floor"


def codec(model: Parley, seed: int, count: int) -> list[Measure]:
    """Held-out answers, spoken by the synthesizer in the voice of the answers, encoded and decoded."""
    lost = codec_error_rate(model, synthesized(seed, count, model.config.codec.sample_rate), pocketsphinx())
    return [Measure(CODEC, lost, count, 3.0, at_most=True)]


def spoken_answers_row(
    name: str, bar: float, judge: Callable[[], Judge], seconds: float, lacks: Callable[[], str] = nothing
) -> Row:
    """Held-out answers, spoken by the model; below it, what the judge gets wrong of speech that it learned from."""

    def measure(model: Parley, seed: int, count: int) -> list[Measure]:
        rate, listener = model.config.codec.sample_rate, judge()
        spoken = [(text, said(model, text)) for text in heldout.answers(seed, count)]
        wrong, floor = (listener.error_rate(each, rate) for each in (spoken, synthesized(seed, count, rate)))
        return [Measure(name, wrong, count, bar, at_most=True), Measure(f"· {FLOOR}", floor, count, at_most=True)]

    return Row(name, SPEAKS, measure, seconds, lacks=lacks)


@lru_cache(maxsize=512)
def said(model: Parley, text: str) -> np.ndarray:
    """The text spoken by the model: float32 [samples] at the codec's rate. Kept for the next judge."""
    return model.speak(model.writer.text(text))


def synthesized(seed: int, count: int, rate: int) -> Iterator[Spoken]:
    """Held-out answers, in the voice that the model learned to answer in."""
    for text in heldout.answers(seed, count):
        yield text, speak(text, ANSWER, rate)


ROWS = (
    Row(CODEC, CODES, codec, seconds=24),
    spoken_answers_row("spoken answers: WER", 6.0, pocketsphinx, seconds=40),
)
