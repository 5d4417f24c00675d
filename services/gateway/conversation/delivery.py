"""Numbers the events of a session as they are delivered, and keeps them in the event log.

The log is written beside the delivery, in batches: audio does not wait for Redis. Where the log cannot be written,
delivery goes on, and what is missing there cannot be sent again after a lost connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from services.gateway.conversation.outbox import Outbox
from services.gateway.events import Event
from services.gateway.store.protocols import MAX_APPEND, MAX_UNLOGGED, Events
from services.rpc.errors import ServiceError

BATCH_SECONDS = 0.1  # between two writes of the log


class Delivery:
    """Of one connection. `begin` once its session is known."""

    def __init__(self, outbox: Outbox, log: Events):
        self._outbox, self._log = outbox, log
        self._session_id = ""
        self._epoch = self._sequence = 0
        self._unlogged: list[Event] = []
        self._waiting = asyncio.Event()
        self._logging: asyncio.Task | None = None

    async def begin(self, session_id: str) -> None:
        """This connection goes on with the session's numbers; an older one that is still open is no longer logged."""
        self._session_id = session_id
        self._epoch, self._sequence = await self._log.begin(session_id)
        self._logging = asyncio.create_task(self._write())

    async def events(self) -> AsyncIterator[Event]:
        """What the client is to be told, numbered, until the outbox closes."""
        while (event := await self._outbox.next()) is not None:
            yield self._number(event)

    async def close(self) -> None:
        """The client has gone: what it was not sent goes into the log, behind what still waits for it."""
        for event in self._outbox.take_rest():
            self._number(event)
        if self._logging is not None and not self._logging.done():
            self._logging.cancel()
            await asyncio.wait({self._logging})
            await self._write_batches()

    def _number(self, event: Event) -> Event:
        self._sequence += 1
        event = event.numbered(self._sequence)
        if self._logging is not None and not self._logging.done() and len(self._unlogged) < MAX_UNLOGGED:
            self._unlogged.append(event)
            self._waiting.set()
        return event

    async def _write(self) -> None:
        """Ends when a newer connection has taken over the log."""
        while True:
            await self._waiting.wait()
            await asyncio.sleep(BATCH_SECONDS)
            self._waiting.clear()
            if not await self._write_batches():
                self._unlogged.clear()
                return

    async def _write_batches(self) -> bool:
        """False where the log is a newer connection's."""
        while self._unlogged:
            batch = self._unlogged[:MAX_APPEND]
            try:
                if not await self._log.append(self._session_id, self._epoch, batch):
                    return False
            except ServiceError:  # counted and logged by the store
                self._unlogged.clear()
                return True
            del self._unlogged[: len(batch)]  # only now: a write that is cut off is written again
        return True
