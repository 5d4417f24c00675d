"""The same turn in one process: the gateway's turns over the four servicers, called directly.

No gRPC, no Ray Serve, no Redis, no second process: what is left out here is what the services cost.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from cli.client import Client
from protos.parley.v1 import conversation_pb2 as wire
from services.gateway.conversation import Conversation
from services.gateway.session import Lease, Session
from services.gateway.settings import GatewaySettings
from services.gateway.upstream import METHODS
from services.registry import SERVICES
from services.rpc.errors import ServiceError
from services.rpc.server import freeze_loaded_objects


class Call:
    """What a servicer reads of a call."""

    def invocation_metadata(self) -> tuple:
        return ()

    async def abort(self, code, message: str, metadata: tuple = ()) -> None:
        raise ServiceError(code, message)


class DirectServices:
    """In place of `Upstream`: the four servicers in this process, called as methods."""

    def __init__(self, checkpoint: Path):
        self._servicers = {
            name: spec.load_servicer()(spec.load_settings().model_copy(update={"checkpoint": checkpoint}))
            for name, spec in SERVICES.items()
        }

    async def start(self) -> None:
        for servicer in self._servicers.values():
            await servicer.start()
        freeze_loaded_objects()  # as every process of a service does

    async def stop(self) -> None:
        for servicer in self._servicers.values():
            await servicer.stop()

    async def weights(self, service: str) -> str:
        return self._servicers[service].weights

    async def until_done(self, service: str, attempt):
        return await attempt()

    async def encode(self, request, timeout: float):
        return await self._servicers["vision"].Encode(request, Call())

    @contextlib.asynccontextmanager
    async def stream(self, service: str, requests: AsyncIterator, **_):
        answers = getattr(self._servicers[service], METHODS[service])(_numbered(requests), Call())
        async with contextlib.aclosing(answers):
            yield answers


async def _numbered(requests: AsyncIterator) -> AsyncIterator:
    sequence = 0
    async for request in requests:
        request.sequence = sequence
        sequence += 1
        yield request


class MemoryStore:
    """In place of `SessionStore`: one process, nothing to survive."""

    def __init__(self) -> None:
        self._items: dict[str, list] = {}
        self._embeddings: dict[str, bytes] = {}

    async def create(self, config) -> Session:
        session_id = f"session-{len(self._items)}"
        self._items[session_id] = []
        return Session(session_id, config, items=0)

    async def history(self, session_id: str) -> list:
        return list(self._items[session_id])

    async def append(self, lease: Lease, messages) -> None:
        self._items[lease.session_id].extend(messages)

    async def report_heard(self, *_) -> None:
        pass

    async def put_embedding(self, name: str, tensor: bytes) -> None:
        self._embeddings[name] = tensor

    async def embeddings(self, names) -> dict[str, bytes]:
        return {name: self._embeddings[name] for name in names if name in self._embeddings}

    @contextlib.asynccontextmanager
    async def lease(self, session_id: str):
        yield Lease(session_id, "", asyncio.Event())


class DirectClient(Client):
    """A client of a `Conversation` in this process."""

    def __init__(self, services: DirectServices, store: MemoryStore):
        self._conversation = Conversation(store, services, GatewaySettings())

    async def close(self) -> None:
        await self._conversation.abandon()

    async def open(self, configure: wire.Configure) -> wire.SessionReady:
        await self._conversation.configure(configure)
        return (await self._conversation.outbox.next()).session

    async def send(self, **event) -> None:
        await self._conversation.handle(wire.ClientEvent(**event))

    async def events(self) -> AsyncIterator[wire.ServerEvent]:
        while (event := await self._conversation.outbox.next()) is not None:
            yield event
