"""When the state of speech that may interrupt an answer is read, while it is spoken."""

from __future__ import annotations

from services.gateway.conversation.turn import Turn

EVERY_SECONDS = 0.19  # of speech
MOST = 10  # of one question; after them its pauses and its end decide


class StateChecks:
    """Of one microphone."""

    def __init__(self, sample_rate: int):
        """`sample_rate`: Hz, of the audio."""
        self._rate = sample_rate
        self._turn_id = ""
        self._seconds = 0.0  # since the last one
        self._left = 0

    def heard(self, turn: Turn, audio: bytes) -> None:
        """16-bit; the turn has it. The first of a question is long enough to be read at once."""
        if not turn.undecided:
            return
        if turn.id != self._turn_id:
            self._turn_id, self._left, self._seconds = turn.id, MOST, EVERY_SECONDS
        self._seconds += len(audio) / 2 / self._rate
        if self._left and self._seconds >= EVERY_SECONDS:
            self._left -= 1
            self._seconds = 0.0
            turn.check_state()
