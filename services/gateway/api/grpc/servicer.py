"""The `Conversation` servicer: admits clients, guards their streams, and ends them well."""

from __future__ import annotations

import asyncio
import time

import grpc

from services.gateway.access.access import Caller
from services.gateway.access.keys import bearer
from services.gateway.api.backend import Backend
from services.gateway.api.grpc import wire
from services.gateway.api.grpc.inputs import handle
from services.gateway.conversation.conversation import Conversation
from services.gateway.events import AudioDelta
from services.gateway.settings import ServerSettings
from services.rpc.decorator import rpc
from services.rpc.errors import ServiceError


class ConversationService:
    service = "gateway"
    internal = False

    def __init__(self, backend: Backend, settings: ServerSettings):
        self._backend, self._settings = backend, settings

    @rpc
    async def Converse(self, request_iterator, context):
        if self._backend.stopping:
            raise _stopping()
        with self._backend.admission.connection():
            caller = await self._admit(context)
            conversation = self._backend.conversation()
            reading = asyncio.create_task(self._read(conversation, caller, aiter(request_iterator)))
            loop, handling = asyncio.get_running_loop(), asyncio.current_task()
            # A client that does not read keeps this call in `yield`, whatever has ended the stream.
            timers: list[asyncio.TimerHandle] = []
            limit = self._settings.idle_seconds
            reading.add_done_callback(lambda _: timers.append(loop.call_later(limit, handling.cancel)))
            try:
                async for event in conversation.delivery.events():
                    if event.repeated:
                        continue
                    if isinstance(event.body, AudioDelta):
                        await self._backend.access.audio(caller, event.body.seconds)
                    yield wire.write_event(event)
                await reading  # raises what ended the stream
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
                for timer in timers:
                    timer.cancel()
                await conversation.abandon()

    async def _admit(self, context) -> Caller:
        """Who calls, from the metadata: nothing that the client sends is read before."""
        metadata = dict(context.invocation_metadata() or ())
        caller = await self._backend.access.full_caller(bearer(str(metadata.get("authorization", ""))))
        await self._backend.access.request(caller)
        return caller

    async def _read(self, conversation: Conversation, caller: Caller, events) -> None:
        """Passes the client's events on until it closes its side, breaks a rule, or time is up."""
        access = self._backend.access
        try:
            async with access.session(caller):
                opening = await self._first(events)
                if not opening.session_id:
                    self._backend.admission.admit()
                after = opening.after_sequence if opening.HasField("after_sequence") else None
                changes = wire.config_changes(opening.config)
                await conversation.open(opening.session_id, changes, caller.key_id, opening.resumable, after)
                async with asyncio.TaskGroup() as group:
                    guarding = group.create_task(self._guard(conversation))
                    async for event in events:
                        if event.WhichOneof("event") == "audio":
                            await access.audio(caller, len(event.audio) / 2 / conversation.input_rate)
                        await handle(conversation, event, lambda: access.request(caller))
                    guarding.cancel()
                await conversation.finish()
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            conversation.outbox.close()

    async def _first(self, events):
        """The `OpenSession` that opens a stream."""
        try:
            async with asyncio.timeout(self._settings.open_seconds):
                event = await anext(events)
        except TimeoutError:
            message = f"no open within {self._settings.open_seconds:g} s"
            raise ServiceError(grpc.StatusCode.DEADLINE_EXCEEDED, message) from None
        except StopAsyncIteration:
            raise ServiceError(grpc.StatusCode.INVALID_ARGUMENT, "the stream closed before open") from None
        kind = event.WhichOneof("event")
        if kind != "open":
            raise ServiceError(grpc.StatusCode.INVALID_ARGUMENT, f"a stream begins with open, not {kind}")
        return event.open

    async def _guard(self, conversation: Conversation) -> None:
        """Ends a stream on which nothing happens, that has lasted too long, or whose gateway stops."""
        settings, began = self._settings, time.monotonic()
        while True:
            await asyncio.sleep(min(1.0, settings.idle_seconds / 4, settings.connection_seconds / 4))
            now = time.monotonic()
            if self._backend.stopping and not conversation.busy:
                raise _stopping()
            if not conversation.busy and now - conversation.last_input > settings.idle_seconds:
                message = (
                    f"nothing happened for {settings.idle_seconds:g} s; connect again with the session_id to go on"
                )
                raise ServiceError(grpc.StatusCode.DEADLINE_EXCEEDED, message)
            if now - began > settings.connection_seconds:
                message = (
                    f"the stream has lasted {settings.connection_seconds:g} s, the longest allowed; "
                    "connect again with the session_id to go on"
                )
                raise ServiceError(grpc.StatusCode.DEADLINE_EXCEEDED, message)


def _stopping() -> ServiceError:
    message = "this gateway is stopping; connect again with your session_id"
    return ServiceError(grpc.StatusCode.UNAVAILABLE, message, retry_after=1.0)
