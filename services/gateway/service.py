"""The `Conversation` servicer: admits clients, guards their streams, and ends them well."""

from __future__ import annotations

import asyncio
import time

import grpc

from services.gateway.conversation import Conversation
from services.gateway.session import SessionStore
from services.gateway.settings import GatewaySettings
from services.gateway.upstream import Upstream
from services.rpc.decorator import rpc
from services.rpc.errors import ServiceError
from services.telemetry import logs, metrics

log = logs.get_logger(__name__)


class ConversationService:
    service = "gateway"
    internal = False

    def __init__(self, settings: GatewaySettings):
        self.settings = settings
        self.store = SessionStore(settings)
        self.upstream = Upstream(settings)
        self.stopping = False
        self.conversations = 0  # open now

    async def stop(self) -> None:
        """After the server has let its streams end."""
        await self.upstream.close()
        await self.store.close()

    async def missing(self) -> list[str]:
        """What does not answer now, of Redis and the four services; empty when a turn can be served.

        All are asked at once and have `probe_seconds`.
        """
        services, redis = await asyncio.gather(self.upstream.ready(), self._redis_answers())
        missing = [service for service, answers in services.items() if not answers]
        return missing if redis else [*missing, "redis"]

    async def _redis_answers(self) -> bool:
        try:
            async with asyncio.timeout(self.settings.probe_seconds):
                await self.store.ping()
        except (ServiceError, TimeoutError):
            return False
        return True

    @rpc
    async def Converse(self, request_iterator, context):
        if self.stopping:
            raise _stopping()
        if self.conversations >= self.settings.max_conversations:
            metrics.REFUSED.labels(self.service, "conversations").inc()
            raise ServiceError.at_capacity("conversations", self.settings.max_conversations, retry_after=5.0)
        conversation = Conversation(self.store, self.upstream, self.settings)
        self.conversations += 1
        metrics.CONVERSATIONS.set(self.conversations)
        reading = asyncio.create_task(self._read(conversation, aiter(request_iterator)))
        try:
            while (event := await conversation.outbox.next()) is not None:
                yield event
            await reading  # raises what ended the stream
        finally:
            try:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
                await conversation.abandon()
            finally:  # also where this is cancelled once more
                self.conversations -= 1
                metrics.CONVERSATIONS.set(self.conversations)

    async def _read(self, conversation: Conversation, events) -> None:
        """Feeds the client's events until it closes its side, breaks a rule, or time is up."""
        try:
            await conversation.configure(await self._first(events))
            async with asyncio.TaskGroup() as group:
                guarding = group.create_task(self._guard(conversation))
                async for event in events:
                    await conversation.handle(event)
                guarding.cancel()
            await conversation.finish()
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            conversation.outbox.close()

    async def _first(self, events):
        """The `Configure` that opens a stream."""
        try:
            async with asyncio.timeout(self.settings.configure_seconds):
                event = await anext(events)
        except TimeoutError:
            message = f"no configure within {self.settings.configure_seconds:g} s"
            raise ServiceError(grpc.StatusCode.DEADLINE_EXCEEDED, message) from None
        except StopAsyncIteration:
            raise ServiceError(grpc.StatusCode.INVALID_ARGUMENT, "the stream closed before configure") from None
        kind = event.WhichOneof("event")
        if kind != "configure":
            raise ServiceError(grpc.StatusCode.INVALID_ARGUMENT, f"a stream begins with configure, not {kind}")
        return event.configure

    async def _guard(self, conversation: Conversation) -> None:
        """Ends a stream on which nothing happens, that has lasted too long, or whose gateway stops."""
        settings, began = self.settings, time.monotonic()
        while True:
            await asyncio.sleep(min(1.0, settings.idle_seconds / 4, settings.conversation_seconds / 4))
            now = time.monotonic()
            if self.stopping and not conversation.busy:
                raise _stopping()
            if not conversation.busy and now - conversation.last_event > settings.idle_seconds:
                message = (
                    f"nothing happened for {settings.idle_seconds:g} s; connect again with the session_id to go on"
                )
                raise ServiceError(grpc.StatusCode.DEADLINE_EXCEEDED, message)
            if now - began > settings.conversation_seconds:
                message = (
                    f"the stream has lasted {settings.conversation_seconds:g} s, the longest allowed; "
                    "connect again with the session_id to go on"
                )
                raise ServiceError(grpc.StatusCode.DEADLINE_EXCEEDED, message)


def _stopping() -> ServiceError:
    message = "this gateway is stopping; connect again with your session_id"
    return ServiceError(grpc.StatusCode.UNAVAILABLE, message, retry_after=1.0)
