"""The turns of a connection: the newest one, and the answer that it may interrupt."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from services.gateway.conversation.interruption import InterruptionPolicy, PendingBargeIn
from services.gateway.conversation.turn import Turn
from services.telemetry import logs

log = logs.get_logger(__name__)


class Turns:
    def __init__(self, policy: InterruptionPolicy, on_end: Callable[[], None]):
        """`on_end` is called whenever a turn has ended."""
        self.newest: Turn | None = None
        self._policy, self._on_end = policy, on_end
        self._running: set[asyncio.Task] = set()

    @property
    def busy(self) -> bool:
        """A turn runs."""
        return bool(self._running)

    @property
    def listening(self) -> bool:
        """A question is being asked."""
        return self.newest is not None and not self.newest.asked and not self.newest.over

    @property
    def answered(self) -> Turn | None:
        """The newest turn, or the answer that it turned out not to interrupt."""
        turn = self.newest
        while turn is not None and turn.over and turn.previous is not None:
            turn = turn.previous
        return turn

    @property
    def answering(self) -> bool:
        """An answer is being given, or played."""
        turn = self.answered
        return turn is not None and turn.asked and (not turn.task.done() or turn.answer.being_played)

    def find(self, turn_id: str) -> Turn | None:
        """The newest turn, or the one that it waits for."""
        candidates = (self.newest, self.newest.previous) if self.newest is not None else ()
        return next((turn for turn in candidates if turn is not None and turn.id == turn_id), None)

    def begin(self, make: Callable[[Turn | None, PendingBargeIn | None], Turn], detected: bool) -> Turn:
        """A new turn, which `make` makes of the turn before and what may interrupt it.

        `detected`: the server noticed its question by itself.
        """
        before = self.answered
        self.newest = turn = make(before, self._policy.on_question(before, detected))
        self._running.add(turn.task)
        turn.task.add_done_callback(self._ended)
        return turn

    def end_failed_question(self) -> bool:
        """The question that failed or was cancelled while it was spoken has ended; audio now is of another.

        False where there is none.
        """
        failed = self.newest is not None and not self.newest.asked and self.newest.over
        if failed:
            self.newest.mark_ended()
        return failed

    def cancel(self) -> None:
        """Stops the newest turn and the answer that is being given."""
        for turn in (self.newest, self.answered):
            if turn is not None:
                turn.cancel()

    async def wait(self) -> None:
        """Returns when none runs."""
        if self._running:
            await asyncio.wait(self._running)

    def _ended(self, task: asyncio.Task) -> None:
        self._running.discard(task)
        self._on_end()
        if not task.cancelled() and task.exception() is not None:
            log.error("turn broke", exc_info=task.exception())
