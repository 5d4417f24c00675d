"""How long a question is silent before it is over."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from services.gateway.conversation.end_of_turn import WAITS, EndOfTurn
from services.gateway.events.session import TurnTaking
from services.gateway.settings import VadSettings

SETTINGS = VadSettings()
AUTO = TurnTaking()


def silence(complete: float | None, wanted: TurnTaking = AUTO, **settings) -> float:
    return EndOfTurn(VadSettings(**settings)).silence(complete, wanted)


def test_what_is_complete_ends_at_once_and_what_is_not_after_long():
    assert silence(1.0) == silence(0.99) == SETTINGS.complete_seconds
    assert silence(0.0) == silence(0.1) == SETTINGS.unfinished_seconds
    assert SETTINGS.complete_seconds < silence(0.9) < silence(0.5) < SETTINGS.unfinished_seconds


@pytest.mark.parametrize("eagerness", ["low", "medium", "high", "auto"])
def test_the_wait_only_falls_as_the_question_becomes_more_likely_complete(eagerness):
    waits = [silence(p, TurnTaking(eagerness=eagerness)) for p in np.linspace(0, 1, 201)]
    assert all(later <= before for before, later in itertools.pairwise(waits)) and waits[-1] < waits[0]


def test_the_wait_costs_least():
    """Against the cost itself, by trying all waits."""
    pause, cut_off = SETTINGS.inner_pause_seconds, SETTINGS.cut_off_seconds
    waits = np.linspace(0.0, 3.0, 30_001)
    for complete in np.linspace(0.15, 0.98, 20):
        costs = complete * waits + (1 - complete) * cut_off * np.exp(-waits / pause)
        assert silence(complete) == pytest.approx(waits[costs.argmin()], abs=2e-4)


def test_a_model_that_does_not_tell_has_one_wait():
    assert silence(None) == SETTINGS.end_seconds
    assert silence(None, end_seconds=0.3) == 0.3
    assert [silence(None, TurnTaking(eagerness=eagerness)) for eagerness in ("low", "medium", "high")] == [
        1.2,
        0.8,
        0.4,
    ]


@pytest.mark.parametrize("complete", [None, 0.0, 0.5, 1.0])
def test_a_silence_that_the_client_has_named_is_the_wait_whatever_was_said(complete):
    assert silence(complete, TurnTaking(end_seconds=0.7, eagerness="high")) == 0.7


def test_an_eager_session_waits_less_at_any_odds():
    for complete in (0.0, 0.2, 0.5, 0.7, 0.9):
        waits = [silence(complete, TurnTaking(eagerness=each)) for each in ("high", "auto", "medium", "low")]
        assert waits == sorted(waits)
    assert silence(0.0, TurnTaking(eagerness="high")) == WAITS["high"].longest < silence(0.0)
