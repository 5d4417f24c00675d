"""Rows of pictures and words that are unlike those of the plain world. An answer counts that is right word for word."""

from __future__ import annotations

from training.data.world import heldout
from training.evaluation.suites.world.row import SEES, Row, Sampled, asked_row, several, two_thirds


def row(name: str, samples: Sampled, bar: float) -> Row:
    return asked_row(name, two_thirds(samples), bar, SEES, seconds=1)


REFUSED = {
    "what is not there": heldout.absent,
    "without a picture": heldout.without_picture,
    "outside its world": heldout.outside_the_world,
}
ROWS = (
    row("another picture later in the conversation", heldout.another_picture, 90.0),
    row("plain wordings of a newcomer", heldout.newcomers_questions, 85.0),
    row("says that it cannot see or does not know", several(REFUSED), 90.0),
)
