"""The turns of a connection: the newest one, and the answer that it may interrupt."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from services.gateway.conversation.interruption import InterruptionPolicy, PendingBargeIn
from services.gateway.conversation.turn import Turn
from services.gateway.events.session import Interruption
from services.telemetry import logs

log = logs.get_logger(__name__)


class Turns:
    def __init__(self, policy: InterruptionPolicy, on_end: Callable[[], None]):
        """`on_end` is called whenever a turn has ended, or its question after it had failed."""
        self.newest: Turn | None = None
        self._policy, self._on_end = policy, on_end
        self._running: dict[asyncio.Task, Turn] = {}

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
        return turn is not None and turn.asked and (not turn.task.done() or turn.being_played)

    @property
    def active(self) -> Turn | None:
        """The turn that answers in this session now."""
        answering = (turn for turn in self._running.values() if turn.request.answers and turn.request.kept)
        return next((turn for turn in answering if turn.asked and not turn.over), None)

    @property
    def beside(self) -> list[Turn]:
        """The running turns whose answers are not part of the session."""
        return [turn for turn in self._running.values() if not turn.request.kept]

    @property
    def pictures(self) -> list[asyncio.Task]:
        """Of turns that run."""
        return [image for turn in self._running.values() for image in turn.question.images]

    @property
    def held_bytes(self) -> int:
        """Of the audio of turns that run."""
        return sum(turn.held_bytes for turn in self._running.values())

    def find(self, turn_id: str) -> Turn | None:
        """A running turn, the newest one, or the one that it waits for."""
        newest = (self.newest, self.newest.previous) if self.newest is not None else ()
        candidates = [*newest, *self._running.values()]
        return next((turn for turn in candidates if turn is not None and turn.id == turn_id), None)

    def begin(
        self,
        make: Callable[[Turn | None, PendingBargeIn | None], Turn],
        detected: bool,
        interruption: Interruption | None = None,
    ) -> Turn:
        """A new turn, which `make` makes of the turn before and what may interrupt it.

        `detected`: the server noticed its question by itself. `interruption`: None: as the policy is by itself.
        """
        before = self._before
        barge_in = self._policy.on_question(before, detected, interruption)
        self.newest = make(before, barge_in)
        if barge_in is not None:
            barge_in.begin(self.newest.id)
        return self._run(self.newest)

    @property
    def _before(self) -> Turn | None:
        """The turn that a new one follows, and may interrupt."""
        turn = self.answered
        return turn if turn is not None and not turn.over else self.active or turn

    def voice(self, interruption: Interruption | None = None) -> None:
        """Speech may have begun; `begin` or `silence` follows. `interruption`: as in `begin`."""
        self._policy.on_voice(self._before, interruption)

    def silence(self) -> None:
        """Speech has not begun."""
        self._policy.on_silence()

    def begin_beside(self, make: Callable[[Turn | None, PendingBargeIn | None], Turn]) -> Turn:
        """A turn that neither interrupts another nor waits for it."""
        return self._run(make(None, None))

    def _run(self, turn: Turn) -> Turn:
        self._running[turn.task] = turn
        turn.task.add_done_callback(self._ended)
        return turn

    def named(self, question_id: str) -> bool:
        """Whether a turn of this question runs."""
        return any(turn.question_id == question_id for turn in self._running.values())

    def history_changed(self) -> None:
        """A question that is being asked is read anew with what comes before it."""
        if self.listening:
            self.newest.pipeline.history_changed()

    def end_failed_question(self) -> bool:
        """The question that failed or was cancelled while it was spoken has ended; audio now is of another.

        False where there is none.
        """
        failed = self.newest is not None and not self.newest.asked and self.newest.over
        if failed:
            self.newest.mark_ended()
            self._on_end()
        return failed

    def cancel(self) -> None:
        """Stops the newest turn and the answer that is being given."""
        for turn in (self.newest, self.answered, *self._running.values()):
            if turn is not None:
                turn.stop()

    def leave(self) -> None:
        """Stops all turns. The client may go on with them through another connection."""
        for turn in list(self._running.values()):
            turn.leave()

    async def catch_up(self, most: int) -> None:
        """Returns when at most so many complete questions are not heard yet."""
        while True:
            unheard = [task for task, turn in self._running.items() if turn.asked and not turn.heard]
            if len(unheard) <= most:
                return
            await asyncio.wait(unheard, return_when=asyncio.FIRST_COMPLETED)

    async def wait_for_cancelled(self) -> None:
        """Returns when no answer of the session is only about to end."""
        answers = {task: turn for task, turn in self._running.items() if turn.request.answers and turn.request.kept}
        if ending := [task for task, turn in answers.items() if turn.asked and turn.over]:
            await asyncio.wait(ending)

    async def wait(self) -> None:
        """Returns when none runs."""
        if self._running:
            await asyncio.wait(self._running)

    def _ended(self, task: asyncio.Task) -> None:
        self._running.pop(task).forget_previous()
        self._on_end()
        if not task.cancelled() and task.exception() is not None:
            log.error("turn broke", exc_info=task.exception())
