"""The single exit of a connection: everything a client is told passes here, in order.

Notable points:
- A cancelled turn is silenced: what still waits of its answer, and what may still arrive, is dropped at the exit, so
  that no late audio of an old turn is ever delivered. That it began, what was heard, and how it ended still pass.
- A turn that somebody may be interrupting is held, and so is the turn of that speech: their events wait until it is
  decided. Of speech that was not meant for us only how its turn ended is told.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable

from services.gateway.events import (
    AnswerBegun,
    Event,
    Failed,
    ItemCreated,
    Playback,
    SpeechStarted,
    SpeechStopped,
    Transcript,
    TurnDone,
)

_ALWAYS = (TurnDone, Failed, ItemCreated, AnswerBegun, SpeechStarted, SpeechStopped, Transcript, Playback)
_OF_SPEECH = (SpeechStarted, SpeechStopped, Transcript, ItemCreated)  # that was meant for us


class Outbox:
    def __init__(self, limit: int):
        self._limit = limit
        self._events: deque[Event] = deque()
        self._replayed: deque[Event] = deque()  # goes out before all else
        self._held: dict[str, list[Event]] = {}  # of answers, by turn id
        self._withheld: dict[str, list[Event]] = {}  # of speech that may be interrupting them, by turn id
        self._silenced: deque[str] = deque(maxlen=64)  # turn ids; older turns are long gone
        self._unmeant: deque[str] = deque(maxlen=64)  # turn ids, as `release_unmeant` has them
        self._closed = False
        self._changed = asyncio.Event()

    @property
    def backlog(self) -> int:
        """Events that wait for the client, and those of an answer that wait for a decision."""
        return self.unread + sum(map(len, self._held.values()))

    @property
    def unread(self) -> int:
        """Events that wait for the client."""
        return len(self._events)

    async def put(self, event: Event) -> None:
        """Waits while a slow client, or a decision, has `limit` events before it."""
        while self.backlog >= self._limit and self.passes(event):
            if self._closed:
                return
            await self._changed.wait()
        self.put_now(event)

    def put_now(self, event: Event) -> None:
        """For what is rare and small: never waits."""
        if self.passes(event) and not self._closed:
            self._events.append(event)
            self._wake()

    def put_first(self, event: Event) -> None:
        """For what is urgent and small: in front of all that waits, in the place of what it is newer than."""
        if not self._closed:
            what = event.turn_id, type(event.body)
            self._events = deque([event, *(each for each in self._events if (each.turn_id, type(each.body)) != what)])
            self._wake()

    def replay(self, events: Iterable[Event]) -> None:
        """What an earlier connection was to deliver; it does not count as backlog."""
        self._replayed.extend(events)
        self._wake()

    def silence(self, turn_id: str) -> None:
        """The turn was cancelled or has failed."""
        if turn_id not in self._silenced:
            self._silenced.append(turn_id)
        self.release(turn_id)

    def hold(self, turn_id: str) -> None:
        """The turn may have been interrupted: its events wait."""
        self._held.setdefault(turn_id, [])

    def withhold(self, turn_id: str) -> None:
        """The turn may be interrupting another: its events wait."""
        self._withheld.setdefault(turn_id, [])

    def release(self, turn_id: str) -> None:
        """It is decided: what was held goes out, in front of what came since."""
        for waiting in (self._held, self._withheld):
            self._events.extendleft(reversed(waiting.pop(turn_id, [])))
        self._wake()

    def silenced(self, turn_id: str) -> bool:
        return turn_id in self._silenced

    def release_unmeant(self, turn_id: str) -> None:
        """What it says was not meant for us: that somebody spoke is not told."""
        self._unmeant.append(turn_id)
        self.release(turn_id)

    def close(self) -> None:
        """No more events; those waiting are still delivered."""
        for turn_id in [*self._held, *self._withheld]:
            self.release(turn_id)
        self._closed = True
        self._wake()

    def has_events_of(self, turn_id: str) -> bool:
        """Whether some of the turn's events have not been delivered."""
        return turn_id in self._held or any(event.turn_id == turn_id for event in self._events)

    def take_rest(self) -> list[Event]:
        """What a client that has gone was not sent any more."""
        rest, self._events = list(self._events), deque()
        return [event for event in rest if self.passes(event)]

    async def next(self) -> Event | None:
        """The next event that may be delivered; None at the end."""
        while (event := self._next_now()) is None:
            if self._closed:
                return None
            await self._changed.wait()
        return event

    async def next_batch(self, limit: int) -> list[Event]:
        """The next event and those that can follow at once, 1 to `limit`; none at the end."""
        batch = [await self.next()]
        while batch[-1] is not None and len(batch) < limit:
            batch.append(self._next_now())
        return [event for event in batch if event is not None]

    def passes(self, event: Event) -> bool:
        """Whether it may still be delivered."""
        if event.turn_id in self._unmeant and isinstance(event.body, _OF_SPEECH):
            return False
        return event.turn_id not in self._silenced or isinstance(event.body, _ALWAYS)

    def _next_now(self) -> Event | None:
        if self._replayed:
            return self._replayed.popleft()
        while self._events:
            event = self._events.popleft()
            self._wake()
            waiting = self._held.get(event.turn_id, self._withheld.get(event.turn_id))
            if waiting is not None and not isinstance(event.body, Playback):
                waiting.append(event)
            elif self.passes(event):
                return event
        return None

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
