"""Rows of turns: whether they are to be answered, and whether a question is complete."""

from __future__ import annotations

from collections.abc import Callable

from parley.config import STATES
from parley.models.parley import Parley
from training.data.world import heldout
from training.evaluation.suites.answers import Asked, detail, mean, percent
from training.evaluation.suites.world.row import HEARS, RIGHT_STATES, Row, Sampled, asked_row, nothing
from training.evaluation.table import Measure

KNOWS_ENDS = frozenset({"end_of_turn_head", "speech_adapter", "language"})


def end_of_turn_row(name: str, samples: Sampled, bar: float, lacks: Callable[[], str] = nothing) -> Row:
    """The mean of the complete questions that are known as complete, and of those cut short that are known as that: a
    question is taken as complete over 0.5."""

    def measure(model: Parley, seed: int, count: int) -> list[Measure]:
        asked = Asked.of(model, list(samples(seed, count)))
        found: dict[str, list[bool]] = {"complete": [], "cut short": []}
        for answer in asked.answers:
            known = answer.complete == answer.predicted_complete
            found["complete" if answer.complete else "cut short"].append(known)
        both = mean({sort: percent(known) for sort, known in found.items()})
        row = Measure(name, both, len(asked.samples), bar, chance=50.0, empty=asked.empty)
        return [row, *(detail(sort, known) for sort, known in found.items())]

    return Row(name, KNOWS_ENDS, measure, seconds=12, lacks=lacks)


ROWS = (
    asked_row(
        "state: speech / text / nothing to answer", heldout.states, 98.0, HEARS, seconds=4,
        found=RIGHT_STATES, chance=100 / len(STATES),
    ),
    end_of_turn_row(
        "end of turn: questions known as complete or cut short, unseen voices", heldout.ends_of_turns, 95.0
    ),
)  # fmt: skip
