"""When the state of speech that may interrupt is read."""

from __future__ import annotations

from services.gateway.conversation.state_checks import EVERY_SECONDS, MOST, StateChecks

RATE = 16_000


class FakeTurn:
    def __init__(self, name: str, undecided: bool = True):
        self.id, self.undecided, self.checks = name, undecided, 0

    def check_state(self) -> None:
        self.checks += 1


def audio(seconds: float) -> bytes:
    return bytes(2 * round(seconds * RATE))


def test_the_first_audio_of_a_question_is_read_at_once_and_then_so_much_more_of_it():
    checks, turn = StateChecks(RATE), FakeTurn("a")
    checks.heard(turn, audio(0.3))
    assert turn.checks == 1
    for _ in range(3):
        checks.heard(turn, audio(EVERY_SECONDS / 3 + 0.001))
    assert turn.checks == 2


def test_it_is_not_read_without_end_and_anew_for_another_question():
    checks, long, other = StateChecks(RATE), FakeTurn("a"), FakeTurn("b")
    for _ in range(3 * MOST):
        checks.heard(long, audio(0.3))
    checks.heard(other, audio(0.3))
    assert (long.checks, other.checks) == (MOST, 1)


def test_what_is_decided_is_not_read():
    checks, turn = StateChecks(RATE), FakeTurn("a", undecided=False)
    checks.heard(turn, audio(0.3))
    assert turn.checks == 0
