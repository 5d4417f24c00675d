"""When an answer may be computed before it is sure that its question has ended."""

import time

from services.gateway.conversation.early_answers import PATIENCE, EarlyAnswers
from services.gateway.turn.clock import TurnClock


def test_there_are_only_so_many_at_once():
    early = EarlyAnswers(2)
    assert early.take("a") and early.take("b") and not early.take("c")
    assert early.take("a"), "a turn that has one may have another in its place"
    early.give_back("a")
    assert early.take("c")
    assert not EarlyAnswers(0).take("a")


def test_there_are_none_while_somebody_waits_for_long():
    early, clock = EarlyAnswers(2), TurnClock()
    clock.ask()
    early.begin_waiting("a", clock)
    assert early.take("b")
    early.give_back("b")
    clock.asked = time.monotonic() - 2 * PATIENCE
    assert not early.take("b")
    clock.deliver()
    assert early.take("b"), "who hears an answer does not wait"
    early.give_back("b")
    early.end_waiting("a")
    clock.close()
