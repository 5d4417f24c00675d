"""Who interrupts whom: the policy that decides what a new question does to the answer that is being given."""

from __future__ import annotations

import asyncio
from typing import Protocol

from services.gateway.conversation.outbox import Outbox
from services.gateway.events import Event, Playback, StateDecided
from services.gateway.events.session import Interruption

NOTHING = 2  # of a state's probabilities, that there is nothing to answer
FIRST_DOUBT = 1e-4  # of the probability of nothing: where it is below, speech of which little was heard interrupts
LAST_DOUBT = 0.03
MORE_DOUBT = 10**0.5  # times as much at each further look


class Interruptible(Protocol):
    """A turn, as the policy sees it."""

    id: str
    question_id: str

    @property
    def answering(self) -> bool: ...

    @property
    def being_played(self) -> bool: ...

    def cancel(self, by_speech: bool = False) -> None: ...


class PendingBargeIn:
    """Speech that may interrupt an answer: the answer is held until it is known whether it does.

    What the client is told of the speech waits for that too: of speech that is not meant for us it never learns.
    """

    def __init__(self, answer: Interruptible, outbox: Outbox, longest_seconds: float):
        """`longest_seconds`: after them the answer goes on, and still ends if the speech interrupts it."""
        self.answer, self._outbox = answer, outbox
        self.interrupts: bool | None = None  # not decided yet
        self._speech = ""  # id of the turn that the speech has begun
        self._holds = True
        self._doubt = FIRST_DOUBT
        outbox.hold(answer.id)
        self._tell("pause")
        self._limit = asyncio.get_running_loop().call_later(longest_seconds, self.let_go)

    def begin(self, turn_id: str) -> None:
        """The speech has begun this turn."""
        if self.interrupts is None:
            self._speech = turn_id
            self._outbox.withhold(turn_id)

    def let_go(self) -> None:
        """The answer goes on where it was, whatever will be decided."""
        self._limit.cancel()
        if self._holds:
            self._holds = False
            self._outbox.release(self.answer.id)
            if not self._outbox.silenced(self.answer.id):
                self._tell("resume")

    def consider(self, read: StateDecided, final: bool) -> None:
        """What the state of the speech so far is. Not `final`: only a sure question decides, and the first look is the
        least to be trusted: few words have been heard.
        """
        if final:
            self.decide(read.state != "nothing")
        elif read.probabilities and read.probabilities[NOTHING] <= self._doubt:
            self.decide(True)
        self._doubt = min(LAST_DOUBT, self._doubt * MORE_DOUBT)

    def decide(self, interrupts: bool) -> None:
        """Ends the answer, or lets it go on where the speech was not meant for us. The first call counts."""
        if self.interrupts is not None:
            return
        self.interrupts = interrupts
        if interrupts:
            self._limit.cancel()
            self._holds = False
            self.answer.cancel(by_speech=True)
            self._outbox.release(self._speech)
            self._tell("stop")
        else:
            self.let_go()
            self._outbox.release_unmeant(self._speech)

    def _tell(self, action: str) -> None:
        """At once, in front of what waits."""
        self._outbox.put_first(Event(Playback(action), self.answer.id, self.answer.question_id))


class InterruptionPolicy:
    """`state`: speech that the server detected interrupts only when its state is a question. `voice`: any speech does.

    What the client asks on purpose (in writing, or in a manual turn) always interrupts. `never`: nothing does, the
    question waits.
    """

    def __init__(self, default: Interruption, outbox: Outbox, longest_hold: float):
        """`longest_hold`: seconds for which an answer is held at most."""
        self._default, self._outbox, self._longest_hold = default, outbox, longest_hold
        self._pending: PendingBargeIn | None = None  # of speech that may have begun

    def on_voice(self, before: Interruptible | None, kind: Interruption | None = None) -> None:
        """Speech may have begun: the answer of the turn `before` is held until a question begins, or `on_silence`."""
        self.on_silence()
        if before is not None and (kind or self._default) != "never" and self._unfinished(before):
            self._pending = PendingBargeIn(before, self._outbox, self._longest_hold)

    def on_silence(self) -> None:
        """It was no speech."""
        if self._pending is not None:
            self._pending.decide(False)
            self._pending = None

    def on_question(
        self, before: Interruptible | None, detected: bool, kind: Interruption | None = None
    ) -> PendingBargeIn | None:
        """A question begins after the turn `before`. `detected`: the server noticed it by itself. `kind`: its own."""
        kind, pending = kind or self._default, self._take_pending(before)
        if before is None or kind == "never":
            return None
        if kind == "state" and detected and (pending is not None or self._unfinished(before)):
            return pending or PendingBargeIn(before, self._outbox, self._longest_hold)
        if pending is not None and detected:
            pending.decide(True)
            return None
        before.cancel(by_speech=detected)
        if pending is not None:
            pending.decide(False)
        return None

    def _take_pending(self, before: Interruptible | None) -> PendingBargeIn | None:
        """What is held of the turn `before`; what is held of another goes on."""
        if self._pending is not None and self._pending.answer is not before:
            self.on_silence()
        pending, self._pending = self._pending, None
        return pending

    def _unfinished(self, before: Interruptible) -> bool:
        return before.answering or before.being_played or self._outbox.has_events_of(before.id)
