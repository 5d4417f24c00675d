"""Rows of transcripts by the CTC head."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from parley.models.parley import Parley
from training.data.world import heldout
from training.data.world.spoken import Utterance
from training.evaluation.suites.recognition import word_error_rate
from training.evaluation.suites.world.row import TRANSCRIBES, Row, nothing
from training.evaluation.table import Measure


def transcript_row(
    name: str, said: Callable[[int, int], Iterable[Utterance]], bar: float, lacks: Callable[[], str] = nothing
) -> Row:
    """The percent of words that are wrong. `said`: (seed, count) → utterances."""

    def measure(model: Parley, seed: int, count: int) -> list[Measure]:
        pairs = [(utterance.audio, utterance.text) for utterance in said(seed, count)]
        return [Measure(name, word_error_rate(model, pairs), len(pairs), bar, at_most=True)]

    return Row(name, TRANSCRIBES, measure, seconds=2.5, lacks=lacks)


NAME = "transcription WER, unseen sentences: "
ROWS = (
    transcript_row(NAME + "seen voices", heldout.transcription, 3.0),
    transcript_row(NAME + "unseen voices", partial(heldout.transcription, unseen_voice=True), 8.0),
    transcript_row(NAME + "unseen speeds", partial(heldout.transcription, unseen_speed=True), 12.0),
)
