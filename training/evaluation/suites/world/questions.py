"""Rows of questions about pictures and videos and of small talk, in writing and spoken by espeak-ng."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from parley.models.parley import Parley
from training.data.world import heldout
from training.data.world.questions import chance
from training.evaluation.suites.answers import Asked, detail
from training.evaluation.suites.world.row import HEARS, RIGHT, SEES, Row, asked_row, third
from training.evaluation.table import Measure

WRITTEN, SMALL_TALK = "picture questions, text in", "small talk, spoken"
WORST_BAR = 85.0


def written_questions(model: Parley, seed: int, count: int) -> list[Measure]:
    """The mean over kinds, each kind, and its forms."""
    asked = Asked.of(model, list(heldout.questions(seed, count)))
    return [asked.mean_over_kinds(f"{WRITTEN}: mean over kinds", 95.0, chance), *asked.kinds(chance)]


def with_worst_kind(measures: list[Measure]) -> list[Measure]:
    """The same, and behind the first one the kind whose mean over the seeds is lowest."""
    worst = min((measure for measure in measures if measure.name.startswith("· ")), key=lambda kind: kind.value)
    name = f"{WRITTEN}: worst kind ({worst.name.removeprefix('· ')})"
    return [measures[0], replace(worst, name=name, bar=WORST_BAR), *measures[1:]]


def spoken_questions(name: str, bar: float, unseen_voice: bool) -> Row:
    samples = third(partial(heldout.questions, spoken=True, unseen_voice=unseen_voice))

    def measure(model: Parley, seed: int, count: int) -> list[Measure]:
        return [Asked.of(model, list(samples(seed, count))).mean_over_kinds(name, bar, chance)]

    return Row(name, SEES | HEARS, measure, seconds=12)


def small_talk(model: Parley, seed: int, count: int) -> list[Measure]:
    """The mean over kinds of held-out sentences; below it, those without a gap, which are in both splits."""
    samples = list(heldout.small_talk(seed, max(1, count * 4 // 10)))
    asked, known = (
        Asked.of(model, [sample for sample in samples if heldout.in_both_splits(sample) == both])
        for both in (False, True)
    )
    row = asked.mean_over_kinds(SMALL_TALK, 95.0, lambda kind: 0.0)
    return [row, detail("sentences without a gap, which training has too", known.right, empty=known.empty)]


ROWS = (
    Row(WRITTEN, SEES, written_questions, seconds=9, finish=with_worst_kind),
    spoken_questions("picture questions, spoken: seen voices", 90.0, unseen_voice=False),
    spoken_questions("picture questions, spoken: unseen voices", 80.0, unseen_voice=True),
    Row(SMALL_TALK, SEES | HEARS, small_talk, seconds=8),
    asked_row("video: which way it moves", heldout.videos, 90.0, SEES, seconds=1, found=RIGHT, chance=25.0),
)
