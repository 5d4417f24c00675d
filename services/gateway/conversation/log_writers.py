"""How the events of a connection come into the event log: beside their delivery, or before it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Protocol

import grpc

from services.gateway.conversation.told import Told
from services.gateway.events import Event
from services.gateway.store.protocols import MAX_APPEND, MAX_UNLOGGED, Events
from services.rpc.errors import ServiceError

BATCH_SECONDS = 0.1  # between two writes beside the delivery
AHEAD_EVENTS = 16  # in one write before their delivery
MAX_OVER = 8  # turns that are over, of which it is kept what the client was told


class LogWriter(Protocol):
    batch: int  # events that are given to `write` at once

    async def write(self, events: Sequence[Event]) -> None:
        """Numbered events, which are delivered once it returns. Raises `ServiceError`: they must not be."""

    async def close(self, rest: Sequence[Event]) -> None:
        """The client has gone, and was not sent `rest`."""


class WriteBehind:
    """Audio does not wait for Redis. What Redis does not take is delivered too, and cannot be sent again later."""

    batch = 1

    def __init__(self, log: Events, session_id: str, epoch: int):
        self._log, self._session_id, self._epoch = log, session_id, epoch
        self._unlogged: list[Event] = []
        self._waiting = asyncio.Event()
        self._logging = asyncio.create_task(self._run())

    async def write(self, events: Sequence[Event]) -> None:
        if not self._logging.done() and len(self._unlogged) + len(events) <= MAX_UNLOGGED:
            self._unlogged.extend(events)
            self._waiting.set()

    async def close(self, rest: Sequence[Event]) -> None:
        if self._logging.done():
            return
        await self.write(rest[: MAX_UNLOGGED - len(self._unlogged)])
        self._logging.cancel()
        await asyncio.wait({self._logging})
        await self._write_batches()

    async def _run(self) -> None:
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


class WriteAhead:
    """The log never lacks what the client has, and says how far each turn has come: another gateway can go on exactly.

    It delivers nothing more once a newer connection has begun.
    """

    batch = AHEAD_EVENTS

    def __init__(self, log: Events, session_id: str, epoch: int):
        self._log, self._session_id, self._epoch = log, session_id, epoch
        self._told: dict[str, Told] = {}  # by turn
        self._over: deque[str] = deque()  # turns, the oldest first
        self._pending: list[Event] = []  # of a write that may have been cut off

    def adopt(self, told: Told) -> None:
        """A turn of an earlier connection."""
        self._told[told.turn_id] = told
        if told.over:
            self._over.append(told.turn_id)

    async def write(self, events: Sequence[Event]) -> None:
        """Raises ABORTED where a newer connection has begun, UNAVAILABLE where Redis cannot be reached."""
        for event in events:
            if event.turn_id:
                self._told.setdefault(event.turn_id, Told(event.turn_id)).add(event)
        self._pending.extend(events)
        if self._pending:
            await self._append(self._pending, self._changes(self._pending))
            self._pending.clear()

    async def keep_asked(self, turn_id: str, asked: bytes) -> None:
        """What another gateway needs to answer the turn's question."""
        if turn_id not in self._over:
            await self._append([], {f"asked:{turn_id}": asked})

    async def close(self, rest: Sequence[Event]) -> None:
        step = MAX_APPEND - AHEAD_EVENTS
        for start in range(0, max(1, len(rest)), step):
            try:
                await self.write(rest[start : start + step])
            except ServiceError:  # what the log does not have is made again by whoever goes on
                return

    async def _append(self, events: Sequence[Event], turns: Mapping[str, bytes]) -> None:
        if not await self._log.append(self._session_id, self._epoch, events, turns):
            message = "a newer connection has taken this session over"
            raise ServiceError(grpc.StatusCode.ABORTED, message)

    def _changes(self, events: Sequence[Event]) -> dict[str, bytes]:
        """Fields of the running turns that change with these events."""
        told = [self._told[turn_id] for turn_id in dict.fromkeys(event.turn_id for event in events) if turn_id]
        changes = {f"told:{turn.turn_id}": turn.to_json() for turn in told}
        for turn in filter(lambda turn: turn.over, told):
            changes[f"asked:{turn.turn_id}"] = b""
            if turn.turn_id not in self._over:
                self._over.append(turn.turn_id)
        while len(self._over) > MAX_OVER:
            oldest = self._over.popleft()
            del self._told[oldest]
            changes[f"told:{oldest}"] = b""
        return changes
