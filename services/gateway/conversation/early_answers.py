"""How many answers are computed before it is sure that their questions have ended, and when there should be none."""

from __future__ import annotations

from services.gateway.turn.clock import TurnClock

PATIENCE = 0.3  # seconds; a question that has ended and waits for longer shows that there is no time for guesses


class EarlyAnswers:
    """Of all the turns of a process."""

    def __init__(self, most: int):
        """`most`: at once; 0: none."""
        self._most = most
        self._held: set[object] = set()
        self._waiting: dict[object, TurnClock] = {}

    def take(self, turn: object) -> bool:
        """Whether the turn may compute an answer now that may have to be thrown away."""
        if turn in self._held:
            return True
        late = any(clock.waiting_seconds > PATIENCE for clock in self._waiting.values())
        if late or len(self._held) >= self._most:
            return False
        self._held.add(turn)
        return True

    def give_back(self, turn: object) -> None:
        self._held.discard(turn)

    def begin_waiting(self, turn: object, clock: TurnClock) -> None:
        """The question has ended; its user waits."""
        self._waiting[turn] = clock

    def end_waiting(self, turn: object) -> None:
        self._waiting.pop(turn, None)
