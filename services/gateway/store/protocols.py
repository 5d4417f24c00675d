"""What a conversation asks of a store, whether it lives in Redis or in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import grpc

from services.gateway.events import Event
from services.gateway.events.items import Item, Ref
from services.gateway.events.session import Session, SessionConfig
from services.rpc.errors import ServiceError

MAX_APPEND = 256  # events in one call of `Events.append`
MAX_UNLOGGED = 1024  # delivered events that may wait for the log; what comes beyond is not logged
NO_TURNS: Mapping[str, bytes] = MappingProxyType({})


@dataclass
class Lease:
    """The right to answer in a session."""

    session_id: str
    token: str
    lost: asyncio.Event  # set once another has it, or the store has lost the session
    forgotten: bool = False  # the latter

    def loss(self) -> ServiceError:
        """What the turn is told whose lease is lost."""
        if not self.forgotten:
            message = "another connection took over this session while the turn ran; the turn was not kept"
            return ServiceError(grpc.StatusCode.ABORTED, message)
        message = (
            "the session store (Redis) has lost this session, as one does that is started again without an "
            "append-only file; open a new session"
        )
        return ServiceError(grpc.StatusCode.NOT_FOUND, message)


class Sessions(Protocol):
    async def create(self, config: SessionConfig, owner: str = "") -> Session: ...

    async def open(self, session_id: str, owner: str = "") -> Session:
        """`owner`: id of the client's API key; another's session is not found."""
        ...

    async def update(self, session_id: str, config: SessionConfig) -> None: ...


class Items(Protocol):
    async def list(self, session_id: str) -> Sequence[Item]: ...

    async def get(self, session_id: str, item_id: str) -> Item: ...

    async def append(self, lease: Lease, items: Iterable[Item]) -> str:
        """Returns the id of the item before them; empty where they are the first."""
        ...

    async def insert(self, session_id: str, item: Item, previous_item_id: str = "") -> str:
        """`previous_item_id` empty: at the end; `root`: in front. Returns the id of the item before it, or ""."""
        ...

    async def replace(self, session_id: str, item: Item) -> None: ...

    async def truncate(self, session_id: str, item_id: str, samples: int) -> None: ...

    async def set_played(self, session_id: str, item_id: str, samples: int) -> None: ...

    async def delete(self, session_id: str, item_id: str) -> None: ...


class Leases(Protocol):
    def lease(self, session_id: str, take: bool = False) -> AbstractAsyncContextManager[Lease]:
        """`take`: whoever holds it loses it."""
        ...


class Events(Protocol):
    async def begin(self, session_id: str, ahead: bool = False) -> tuple[int, int]:
        """`ahead`: the log has each event before it is delivered."""
        ...

    async def append(
        self, session_id: str, epoch: int, events: Sequence[Event], turns: Mapping[str, bytes] = NO_TURNS
    ) -> bool:
        """`turns`: fields of the running turns that change with it; an empty value removes one."""
        ...

    async def read(self, session_id: str, after: int) -> Sequence[Event]: ...


class RunningTurns(Protocol):
    async def fields(self, session_id: str) -> Mapping[str, bytes]: ...


class Embeddings(Protocol):
    async def find(self, weights: str, content_hash: str) -> Ref | None: ...

    async def put(self, ref: Ref, data: bytes) -> bool: ...

    async def get(self, refs: Iterable[Ref]) -> Mapping[Ref, bytes]: ...


class Store(Protocol):
    """All of them."""

    sessions: Sessions
    items: Items
    leases: Leases
    events: Events
    running_turns: RunningTurns
    embeddings: Embeddings
