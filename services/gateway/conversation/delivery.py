"""Numbers the events of a session as they are delivered, and keeps them in the event log."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

from services.gateway.conversation.log_writers import LogWriter, WriteAhead, WriteBehind
from services.gateway.conversation.outbox import Outbox
from services.gateway.conversation.told import Told
from services.gateway.events import Event
from services.gateway.store.protocols import Events


class Delivery:
    """Of one connection. `begin` once its session is known.

    A connection is resumable where its client may go on with it through another one: its log is written ahead.
    """

    def __init__(self, outbox: Outbox, log: Events):
        self._outbox, self._log = outbox, log
        self._session_id = ""
        self._epoch = self._sequence = 0
        self._writer: LogWriter | None = None

    @property
    def resumable(self) -> bool:
        return isinstance(self._writer, WriteAhead)

    async def begin(self, session_id: str, resumable: bool = False) -> None:
        """This connection goes on with the session's numbers; an older one that is still open is no longer logged."""
        self._session_id = session_id
        self._epoch, self._sequence = await self._log.begin(session_id, ahead=resumable)
        self._writer = (WriteAhead if resumable else WriteBehind)(self._log, session_id, self._epoch)

    async def events(self) -> AsyncIterator[Event]:
        """What the client is to be told, numbered, until the outbox closes.

        Raises `ServiceError` where a resumable connection cannot go on.
        """
        while batch := await self._outbox.next_batch(self._writer.batch if self._writer is not None else 1):
            events = [event if event.logged else self._numbered(event) for event in batch]
            await self._writer.write([event for event in events if not event.logged])
            for event in events:
                if event.logged or self._outbox.passes(event):
                    yield event

    async def close(self) -> None:
        """The client has gone: what it was not sent goes into the log, behind what still waits for it."""
        rest = [self._numbered(event) for event in self._outbox.take_rest()]
        if self._writer is not None:
            await self._writer.close(rest)

    async def keep_asked(self, turn_id: str, asked: bytes) -> None:
        """What another gateway needs to answer the turn's question, where the connection is resumable."""
        if isinstance(self._writer, WriteAhead):
            await self._writer.keep_asked(turn_id, asked)

    def adopt(self, told: Told) -> None:
        """A turn of an earlier connection, which this one goes on with or ends."""
        if isinstance(self._writer, WriteAhead):
            self._writer.adopt(told)

    async def forget(self, turn_ids: Iterable[str]) -> None:
        """Turns of an earlier connection, which nobody goes on with."""
        fields = {f"{kind}:{turn_id}": b"" for turn_id in turn_ids for kind in ("told", "asked")}
        await self._log.append(self._session_id, self._epoch, [], fields)

    def _numbered(self, event: Event) -> Event:
        self._sequence += 1
        return event.numbered(self._sequence)
