"""Rows of pictures and words that are unlike those of the plain world. An answer counts that is right word for word."""

from __future__ import annotations

from functools import partial

from training.data.world import heldout
from training.data.world.hands import HANDS
from training.evaluation.suites.world.row import SEES, Row, Sampled, asked_row, several, two_thirds

BY = {hand.name: partial(heldout.pictures_by, hand=hand) for hand in HANDS}  # name of a hand → its samples
GROUNDS = ("light ground", "mid-grey ground", "ground of any colour")
SIZES = ("640×360", "1024×768")
REFUSED = {
    "what is not there": heldout.absent,
    "without a picture": heldout.without_picture,
    "outside its world": heldout.outside_the_world,
}


def row(name: str, samples: Sampled, bar: float) -> Row:
    return asked_row(name, two_thirds(samples), bar, SEES, seconds=1)


def by(*names: str) -> Sampled:
    """Pictures by these hands."""
    return several({name: BY[name] for name in names})


ROWS = (
    row("another picture later in the conversation", heldout.another_picture, 90.0),
    row("pictures on light, mid-grey or any ground", by(*GROUNDS), 85.0),
    row("shapes off the grid by up to 0.4 of a cell", by("off the grid"), 80.0),
    row("shapes turned by up to 30°", by("turned"), 80.0),
    row("five or six shapes", by("five or six shapes"), 80.0),
    row("pictures of 640×360 and 1024×768", by(*SIZES), 90.0),
    row("words in capitals, other fonts and colours", by("other fonts"), 85.0),
    row("plain wordings of a newcomer", heldout.newcomers_questions, 85.0),
    row("says that it cannot see or does not know", several(REFUSED), 90.0),
    row("video with a second thing that moves otherwise", heldout.two_movers, 80.0),
)
