"""How long a question is silent before it counts as over: what was said so far decides."""

from __future__ import annotations

import math

from services.gateway.events.session import Eagerness, TurnTaking
from services.gateway.settings import VadSettings

# Seconds of silence that end a question of which nothing is known, and any question; `auto`: as the settings say.
WAITS: dict[Eagerness, tuple[float, float]] = {"low": (1.2, 4.0), "medium": (0.8, 2.0), "high": (0.4, 1.0)}
SMALLEST = 1e-6  # a probability


class EndOfTurn:
    """The wait costs its own length where the question was complete, and cuts the user off where it was too short.

    With p = P(complete) and pauses inside questions that last m seconds on average (exponentially distributed), a wait
    w costs p w + (1 - p) c exp(-w / m) on average, c being what cutting somebody off costs, in seconds of waiting. That
    is least at w = m (ln(c / m) - ln(p / (1 - p))). `end_seconds` says what c is: it is the wait at p = 1/2.
    """

    def __init__(self, settings: VadSettings):
        self._settings = settings

    def silence(self, complete: float | None, wanted: TurnTaking) -> float:
        """Seconds since the last frame of speech that end the question.

        `complete`: probability that it is complete; None: not known yet, or the model does not tell.
        """
        if wanted.end_seconds is not None:
            return wanted.end_seconds
        settings = self._settings
        unknown, longest = WAITS.get(wanted.eagerness, (settings.end_seconds, settings.unfinished_seconds))
        if complete is None:
            return unknown
        seconds = unknown - settings.inner_pause_seconds * _log_odds(complete)
        return min(max(seconds, min(settings.complete_seconds, unknown)), max(longest, unknown))


def _log_odds(probability: float) -> float:
    probability = min(max(probability, SMALLEST), 1 - SMALLEST)
    return math.log(probability / (1 - probability))
