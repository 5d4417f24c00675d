"""The same turn in one process: the gateway's conversations over the four servicers, called directly.

No gRPC, no Ray Serve, no Redis, no second process: what is left out here is what the services cost. `DirectCalls` and
`MemoryStore` implement the gateway's own protocols (`upstream.calls.Calls`, `store.protocols.Store`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path

from cli.client import Client
from protos.parley.v1 import conversation_pb2 as wire
from protos.parley.v1.model_info_pb2 import DescribeRequest, ModelInfo
from protos.parley.v1.vision_encoder_pb2 import EncodeVisionRequest, EncodeVisionResponse
from services.gateway.api.grpc.inputs import handle
from services.gateway.api.grpc.wire import config_changes, write_event
from services.gateway.conversation.conversation import Conversation
from services.gateway.conversation.early_answers import EarlyAnswers
from services.gateway.events import Event
from services.gateway.events.items import Item, Ref
from services.gateway.events.session import Session, SessionConfig
from services.gateway.media.detector import Detector
from services.gateway.media.memory_budget import MemoryBudget
from services.gateway.settings import GatewaySettings
from services.gateway.store.protocols import NO_TURNS, Lease
from services.gateway.upstream.calls import CallContext
from services.registry import SERVICES
from services.rpc.errors import ServiceError
from services.rpc.server import freeze_loaded_objects


class Call:
    """What a servicer reads of a call."""

    def invocation_metadata(self) -> tuple:
        return ()

    async def abort(self, code, message: str, metadata: tuple = ()) -> None:
        raise ServiceError(code, message)


class DirectStream:
    """Implements `upstream.calls.Stream`: the servicer's method, called in this process."""

    def __init__(self, service: str, servicer, requests: AsyncGenerator, keep_open: bool):
        self._outgoing: asyncio.Queue = asyncio.Queue()
        self._sequence = 0
        self._feeding = asyncio.create_task(self._feed(requests, keep_open))
        self._answers = getattr(servicer, SERVICES[service].method)(self._requests(), Call())

    async def send(self, request) -> None:
        request.sequence = self._sequence
        self._sequence += 1
        self._outgoing.put_nowait(request)

    async def _feed(self, requests: AsyncGenerator, keep_open: bool) -> None:
        try:
            async with contextlib.aclosing(requests):
                async for request in requests:
                    await self.send(request)
        except Exception as error:  # for the servicer, whose failure reaches whoever reads the answers
            self._outgoing.put_nowait(error)
        if not keep_open:
            self._outgoing.put_nowait(None)

    async def _requests(self) -> AsyncIterator:
        while (request := await self._outgoing.get()) is not None:
            if isinstance(request, Exception):
                raise request
            yield request

    async def __aiter__(self) -> AsyncIterator:
        async for answer in self._answers:
            if answer.WhichOneof("message") is not None:  # else a heartbeat
                yield answer

    async def close(self) -> None:
        self._feeding.cancel()
        await asyncio.wait({self._feeding})
        await self._answers.aclose()


class DirectCalls:
    """Implements `upstream.calls.Calls` over the four servicers in this process."""

    def __init__(self, checkpoint: Path):
        self._servicers = {
            name: service.load_servicer()(service.load_settings().model_copy(update={"checkpoint": checkpoint}))
            for name, service in SERVICES.items()
        }
        self._descriptions: dict[str, ModelInfo] = {}

    async def start(self) -> None:
        for name, servicer in self._servicers.items():
            await servicer.start()
            self._descriptions[name] = await servicer.Describe(DescribeRequest(), Call())
        freeze_loaded_objects()  # as every process of a service does

    async def stop(self) -> None:
        for servicer in self._servicers.values():
            await servicer.stop()

    async def describe(self, service: str) -> ModelInfo:
        return self._descriptions[service]

    async def encode_images(self, request: EncodeVisionRequest, timeout: float) -> EncodeVisionResponse:
        return await self._servicers["vision_encoder"].Encode(request, Call())

    async def until_done(self, service: str, attempt):
        return await attempt()

    @contextlib.asynccontextmanager
    async def stream(self, service: str, requests: AsyncGenerator, context: CallContext, keep_open: bool = False):
        stream = DirectStream(service, self._servicers[service], requests, keep_open)
        try:
            yield stream
        finally:
            await stream.close()


class OneRelease:
    """Implements `upstream.calls.Releases`: there is only this one."""

    def __init__(self, calls: DirectCalls):
        self.current = calls

    def bind(self) -> contextlib.AbstractContextManager[DirectCalls]:
        return contextlib.nullcontext(self.current)


class MemoryStore:
    """Implements `store.protocols.Store` in memory: one process, nothing to survive."""

    def __init__(self) -> None:
        self.sessions, self.items, self.leases = MemorySessions(), MemoryItems(), MemoryLeases()
        self.events, self.running_turns, self.embeddings = MemoryEvents(), MemoryRunningTurns(), MemoryEmbeddings()


class MemorySessions:
    def __init__(self) -> None:
        self._configs: dict[str, SessionConfig] = {}

    async def create(self, config: SessionConfig, owner: str = "") -> Session:
        session = Session(f"session-{len(self._configs) + 1}", config)
        self._configs[session.id] = config
        return session

    async def open(self, session_id: str, owner: str = "") -> Session:
        return Session(session_id, self._configs[session_id])

    async def update(self, session_id: str, config: SessionConfig) -> None:
        self._configs[session_id] = config


class MemoryItems:
    def __init__(self) -> None:
        self._items: dict[str, dict[str, Item]] = {}  # by session, by id

    def _of(self, session_id: str) -> dict[str, Item]:
        return self._items.setdefault(session_id, {})

    async def list(self, session_id: str) -> list[Item]:
        return list(self._of(session_id).values())

    async def get(self, session_id: str, item_id: str) -> Item:
        return self._of(session_id)[item_id]

    async def append(self, lease: Lease, items: Iterable[Item]) -> str:
        previous = next(reversed(self._of(lease.session_id)), "")
        self._of(lease.session_id).update({item.id: item for item in items})
        return previous

    async def insert(self, session_id: str, item: Item, previous_item_id: str = "") -> str:
        before = list(self._of(session_id))
        position = before.index(previous_item_id) + 1 if previous_item_id else len(before)
        items = list(self._of(session_id).values())
        self._items[session_id] = {each.id: each for each in [*items[:position], item, *items[position:]]}
        return before[position - 1] if position else ""

    async def replace(self, session_id: str, item: Item) -> None:
        self._of(session_id)[item.id] = item

    async def truncate(self, session_id: str, item_id: str, samples: int) -> None:
        await self.set_played(session_id, item_id, samples)

    async def set_played(self, session_id: str, item_id: str, samples: int) -> None:
        items = self._of(session_id)
        if item_id in items:
            items[item_id] = items[item_id].model_copy(update={"played": samples})

    async def delete(self, session_id: str, item_id: str) -> None:
        del self._of(session_id)[item_id]


class MemoryLeases:
    @contextlib.asynccontextmanager
    async def lease(self, session_id: str, take: bool = False):
        yield Lease(session_id, "", asyncio.Event())


class MemoryEvents:
    """Keeps none: nobody resumes a connection within a process."""

    async def begin(self, session_id: str, ahead: bool = False) -> tuple[int, int]:
        return 1, 0

    async def append(
        self, session_id: str, epoch: int, events: Sequence[Event], turns: Mapping[str, bytes] = NO_TURNS
    ) -> bool:
        return True

    async def read(self, session_id: str, after: int) -> list[Event]:
        return []


class MemoryRunningTurns:
    async def fields(self, session_id: str) -> dict[str, bytes]:
        return {}


class MemoryEmbeddings:
    def __init__(self) -> None:
        self._kept: dict[Ref, bytes] = {}

    async def find(self, weights: str, content_hash: str) -> Ref | None:
        return next((ref for ref in self._kept if (ref.weights, ref.hash) == (weights, content_hash)), None)

    async def put(self, ref: Ref, data: bytes) -> bool:
        self._kept[ref] = data
        return True

    async def get(self, refs: Iterable[Ref]) -> dict[Ref, bytes]:
        return {ref: self._kept[ref] for ref in refs if ref in self._kept}


async def _uncounted() -> None:
    """Nobody counts requests here."""


class OneProcess:
    """What all conversations of this process share, as `services.gateway.api.backend` has it. `stop` at the end."""

    def __init__(self, checkpoint: Path):
        self._settings = GatewaySettings()
        self._calls, self._store, self._detector = DirectCalls(checkpoint), MemoryStore(), Detector()
        self._early = EarlyAnswers(self._settings.conversation.early_answers)
        self._memory = MemoryBudget(self._settings.server)

    async def start(self) -> None:
        await self._calls.start()

    async def stop(self) -> None:
        self._detector.stop()
        await self._calls.stop()

    def client(self) -> DirectClient:
        settings, releases = self._settings, OneRelease(self._calls)
        return DirectClient(
            Conversation(
                self._store,
                releases,
                settings.conversation,
                settings.media,
                settings.vad,
                self._detector,
                self._early,
                self._memory,
            )
        )


class DirectClient(Client):
    """A client of a `Conversation` in this process."""

    def __init__(self, conversation: Conversation):
        self._conversation = conversation
        self._events = conversation.delivery.events()

    async def close(self) -> None:
        await self._conversation.abandon()

    async def open(self, config: wire.SessionConfig, session_id: str = "") -> wire.SessionReady:
        await self._conversation.open(session_id, config_changes(config))
        return write_event(await anext(self._events)).session

    async def send(self, **event) -> None:
        await handle(self._conversation, wire.ClientEvent(**event), _uncounted)

    async def events(self) -> AsyncIterator[wire.ServerEvent]:
        async for event in self._events:
            yield write_event(event)
