"""Who interrupts whom: the policy that decides what a new question does to the answer that is being given."""

from __future__ import annotations

from typing import Literal, Protocol

from services.gateway.conversation.outbox import Outbox


class Interruptible(Protocol):
    """A turn, as the policy sees it."""

    id: str

    @property
    def answering(self) -> bool: ...

    def cancel(self) -> None: ...


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
            self.answer.cancel()
        else:
            self._outbox.release(self.answer.id)


class InterruptionPolicy:
    """`state`: speech that the server detected interrupts only when its state is a question. `voice`: any speech does.

    What the client asks on purpose (in writing, or in a manual turn) always interrupts.
    """

    def __init__(self, kind: Literal["state", "voice"], outbox: Outbox):
        self._kind, self._outbox = kind, outbox

    def on_question(self, before: Interruptible | None, detected: bool) -> PendingBargeIn | None:
        """A question begins after the turn `before`. `detected`: the server noticed it by itself."""
        if before is None:
            return None
        unfinished = before.answering or self._outbox.has_events_of(before.id)
        if self._kind == "state" and detected and unfinished:
            return PendingBargeIn(before, self._outbox)
        before.cancel()
        return None
