"""How long a question is silent before it counts as over: what was said so far decides."""

from __future__ import annotations

import math
from typing import NamedTuple

from services.gateway.events.session import Eagerness, TurnTaking
from services.gateway.settings import VadSettings

SMALLEST = 1e-6  # a probability


class Waits(NamedTuple):
    """Seconds. `unknown`: the wait where the model does not tell. `cut_off`: what cutting a user off costs."""

    unknown: float
    cut_off: float
    longest: float


WAITS: dict[Eagerness, Waits] = {
    "low": Waits(1.2, 300.0, 4.0),
    "medium": Waits(0.8, 100.0, 2.0),
    "high": Waits(0.4, 5.0, 1.0),
}


class EndOfTurn:
    """A wait costs its own length where the question was complete, and cuts the user off where it was too short.

    With p = P(complete) and pauses inside questions that last m seconds on average (exponentially distributed), a wait
    w costs p w + (1 - p) c exp(-w / m) on average, c being what cutting somebody off costs, in seconds of waiting. That
    is least at w = m (ln(c / m) - ln(p / (1 - p))).
    """

    def __init__(self, settings: VadSettings):
        self._settings = settings
        self._auto = Waits(settings.end_seconds, settings.cut_off_seconds, settings.unfinished_seconds)

    def silence(self, complete: float | None, wanted: TurnTaking) -> float:
        """Seconds since the last frame of speech that end the question.

        `complete`: probability that it is complete; None: not known yet, or the model does not tell.
        """
        if wanted.end_seconds is not None:
            return wanted.end_seconds
        waits = WAITS.get(wanted.eagerness, self._auto)
        if complete is None:
            return waits.unknown
        pause, shortest = self._settings.inner_pause_seconds, self._settings.complete_seconds
        seconds = pause * (math.log(waits.cut_off / pause) - _log_odds(complete))
        return max(shortest, min(seconds, waits.longest))


def _log_odds(probability: float) -> float:
    probability = min(max(probability, SMALLEST), 1 - SMALLEST)
    return math.log(probability / (1 - probability))
