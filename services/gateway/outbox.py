"""The single exit of a conversation: everything a client is told passes here, in order.

A cancelled turn is silenced: what still waits of it, and what may still arrive, is dropped at the exit, so that no late
audio of an old turn is ever delivered. Only how it ended (`done`, `error`) still passes.
"""

from __future__ import annotations

import asyncio
from collections import deque

from protos.parley.v1.conversation_pb2 import ServerEvent

_ALWAYS = ("done", "error")


class Outbox:
    def __init__(self, limit: int):
        self._limit = limit
        self._events: deque[ServerEvent] = deque()
        self._silenced: deque[str] = deque(maxlen=64)  # turn ids; older turns are long gone
        self._changed = asyncio.Condition()
        self._closed = False

    async def put(self, event: ServerEvent) -> None:
        """Waits while a slow client has `limit` events before it."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._events) < self._limit or self._closed)
            self._add(event)
            self._changed.notify_all()

    async def put_now(self, event: ServerEvent) -> None:
        """For what is rare and small: never waits for the client."""
        async with self._changed:
            self._add(event)
            self._changed.notify_all()

    def _add(self, event: ServerEvent) -> None:
        if self._passes(event) and not self._closed:
            self._events.append(event)

    def _passes(self, event: ServerEvent) -> bool:
        return event.turn_id not in self._silenced or event.WhichOneof("event") in _ALWAYS

    def silence(self, turn_id: str) -> None:
        self._silenced.append(turn_id)

    async def close(self) -> None:
        """No more events; those waiting are still delivered."""
        async with self._changed:
            self._closed = True
            self._changed.notify_all()

    async def next(self) -> ServerEvent | None:
        """The next event that may be delivered; None at the end."""
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: self._events or self._closed)
                if not self._events:
                    return None
                event = self._events.popleft()
                self._changed.notify_all()
            if self._passes(event):
                return event
