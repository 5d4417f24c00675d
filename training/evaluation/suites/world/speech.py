"""Rows of speech that the model makes: the codec, and spoken answers, with what the recogniser gets wrong anyway."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from parley.models.parley import Parley
from training.data.world import heldout
from training.data.world.speech import speak
from training.data.world.voices import ANSWER
from training.evaluation.suites.synthesis import Judge, codec_error_rate
from training.evaluation.suites.world.judges import lacks_whisper, pocketsphinx, whisper_base
from training.evaluation.suites.world.row import Row, nothing, two_thirds
from training.evaluation.table import Measure

CODES = frozenset({"codec_encoder", "codec_decoder"})
SPEAKS = frozenset({"speech_decoder", "codec_decoder"})
CODEC = "codec: WER of decoded speech above the original's"
ANSWERS = two_thirds(heldout.answers)
FLOOR = "of the synthesizer's own speech: the recogniser's floor"


def codec(model: Parley, seed: int, count: int) -> list[Measure]:
    """Held-out answers, spoken by the synthesizer in the voice of the answers, encoded and decoded."""
    rate = model.config.codec.sample_rate
    spoken = [(text, speak(text, ANSWER, rate)) for text in ANSWERS(seed, count)]
    lost = codec_error_rate(model, spoken, pocketsphinx())
    return [Measure(CODEC, lost, len(spoken), 3.0, at_most=True)]


def spoken_answers_row(
    name: str, bar: float, judge: Callable[[], Judge], seconds: float, lacks: Callable[[], str] = nothing
) -> Row:
    """Held-out answers, spoken by the model; below it, what the judge gets wrong of the voice that it learned from."""

    def measure(model: Parley, seed: int, count: int) -> list[Measure]:
        rate, listener = model.config.codec.sample_rate, judge()
        answers = list(ANSWERS(seed, count))
        wrong = listener.error_rate([(text, said(model, text)) for text in answers], rate)
        floor = listener.error_rate([(text, speak(text, ANSWER, rate)) for text in answers], rate)
        return [Measure(name, wrong, len(answers), bar, at_most=True), Measure(f"· {FLOOR}", floor, len(answers))]

    return Row(name, SPEAKS, measure, seconds, lacks=lacks)


@lru_cache(maxsize=512)
def said(model: Parley, text: str) -> np.ndarray:
    """The text spoken by the model: float32 [samples] at the codec's rate. Kept for the next judge."""
    return model.speak(model.writer.text(text))


ROWS = (
    Row(CODEC, CODES, codec, seconds=23),
    spoken_answers_row("spoken answers: WER", 6.0, pocketsphinx, seconds=48),
)
JUDGED = spoken_answers_row("spoken answers, judged by Whisper base: WER", 8.0, whisper_base, 66, lacks_whisper)
