"""Who interrupts whom: the policy that decides what a new question does to the answer that is being given."""

from __future__ import annotations

from typing import Protocol

from services.gateway.conversation.outbox import Outbox
from services.gateway.events.session import Interruption


class Interruptible(Protocol):
    """A turn, as the policy sees it."""

    id: str

    @property
    def answering(self) -> bool: ...

    def cancel(self, by_speech: bool = False) -> None: ...


class PendingBargeIn:
    """Speech that may interrupt an answer: the answer is held until the speech's state is known."""

    def __init__(self, answer: Interruptible, outbox: Outbox):
        self.answer, self._outbox = answer, outbox
        self.interrupts: bool | None = None  # not decided yet
        outbox.hold(answer.id)

    def decide(self, interrupts: bool) -> None:
        """Ends the answer, or lets it go on where the speech was not meant for us. The first call counts."""
        if self.interrupts is not None:
            return
        self.interrupts = interrupts
        if interrupts:
            self.answer.cancel(by_speech=True)
        else:
            self._outbox.release(self.answer.id)


class InterruptionPolicy:
    """`state`: speech that the server detected interrupts only when its state is a question. `voice`: any speech does.

    What the client asks on purpose (in writing, or in a manual turn) always interrupts. `never`: nothing does, the
    question waits.
    """

    def __init__(self, default: Interruption, outbox: Outbox):
        self._default, self._outbox = default, outbox

    def on_question(
        self, before: Interruptible | None, detected: bool, kind: Interruption | None = None
    ) -> PendingBargeIn | None:
        """A question begins after the turn `before`. `detected`: the server noticed it by itself. `kind`: its own."""
        kind = kind or self._default
        if before is None or kind == "never":
            return None
        unfinished = before.answering or self._outbox.has_events_of(before.id)
        if kind == "state" and detected and unfinished:
            return PendingBargeIn(before, self._outbox)
        before.cancel(by_speech=detected)
        return None
