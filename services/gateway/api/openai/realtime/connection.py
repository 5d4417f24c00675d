"""One WebSocket of the Realtime API: its handshake, its life, its end."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import time
from typing import Any

import grpc
from fastapi import WebSocket, WebSocketDisconnect

from services.gateway.access.access import AudioUsedUpError
from services.gateway.api.backend import Backend
from services.gateway.api.openai.errors import SERVER, ApiError, error_of
from services.gateway.api.openai.names import VOICES
from services.gateway.api.openai.realtime.client_events import ClientEvent, parse
from services.gateway.api.openai.realtime.credentials import Credentials, authenticate, refuse
from services.gateway.api.openai.realtime.idle import IdleTimer
from services.gateway.api.openai.realtime.inputs import Inputs
from services.gateway.api.openai.realtime.place import Place
from services.gateway.api.openai.realtime.session import RealtimeSession, defaults
from services.gateway.api.openai.realtime.translator import Translator
from services.gateway.conversation.conversation import Conversation
from services.gateway.events import ApiEvent, AudioDelta
from services.rpc.errors import ServiceError
from services.telemetry import logs

log = logs.get_logger(__name__)

GOING_AWAY, POLICY, INTERNAL, TRY_AGAIN_LATER = 1001, 1008, 1011, 1013  # codes that a connection is closed with
NOT_RESUMABLE, TAKEN_OVER = 4404, 4409  # ours: begin a new session; another connection goes on with this one
CLOSES = {  # status of the error → code
    401: POLICY, 404: NOT_RESUMABLE, 409: TAKEN_OVER, 413: POLICY, 429: TRY_AGAIN_LATER, 503: GOING_AWAY
}  # fmt: skip


async def serve(websocket: WebSocket, backend: Backend) -> None:
    """From the handshake to the end."""
    try:
        credentials = await authenticate(websocket, backend.access)
        value, place = _session_value(websocket, backend, credentials), Place.of(websocket.query_params)
        if backend.stopping:
            raise _stopping()
        with backend.admission.connection():
            async with backend.access.session(credentials.caller):
                if not place.session_id:
                    backend.admission.admit()
                await websocket.accept(subprotocol=credentials.subprotocol)
                await Connection(websocket, backend, credentials, place).run(value)
    except Exception as error:
        await _end(websocket, error)


def _session_value(websocket: WebSocket, backend: Backend, credentials: Credentials) -> tuple[str, str]:
    """The model and the kind of session that the address names. Raises `ApiError`."""
    query = websocket.query_params
    if "call_id" in query:
        raise ApiError("Calls over WebRTC or SIP are not served here.", "invalid_value", "call_id")
    kind = "transcription" if query.get("intent") == "transcription" else "realtime"
    of_key = credentials.caller.session or {}
    model = query.get("model") or of_key.get("model") or backend.models.served
    return backend.models.resolve(model), of_key.get("type") or kind


async def _end(websocket: WebSocket, error: Exception) -> None:
    """Before the upgrade an HTTP error; after it an `error` event and a close that says whether to come back."""
    if isinstance(error, WebSocketDisconnect):
        return
    told = error_of(error)
    if told.code == "internal_error":
        log.error("realtime connection failed", message=told.message, exc_info=error)
    if websocket.application_state.name == "CONNECTING":
        await refuse(websocket, error)
        return
    code = CLOSES.get(told.status, INTERNAL)
    event_id = getattr(websocket.state, "last_event_id", "event_end")  # from which a client can go on
    with contextlib.suppress(Exception):  # it may be gone
        await websocket.send_text(json.dumps({"type": "error", "event_id": event_id, "error": error_body(told)}))
        await websocket.close(code)


def error_body(error: ApiError, event_id: str | None = None) -> dict[str, Any]:
    return {**error.body(), "event_id": event_id}


class Connection:
    def __init__(self, websocket: WebSocket, backend: Backend, credentials: Credentials, place: Place):
        self._websocket, self._backend, self._caller = websocket, backend, credentials.caller
        self._place = place
        self._settings = backend.settings.server
        self._conversation: Conversation = backend.conversation()
        self._expires_at = int(time.time() + self._settings.realtime_seconds)

    async def run(self, wanted: tuple[str, str]) -> None:
        """`wanted`: model and kind of the session. Raises what ended the connection."""
        try:
            await self._open(*wanted)
        except BaseException:
            await self._conversation.abandon()
            raise
        try:
            async with asyncio.TaskGroup() as group:
                reading = group.create_task(self._read())
                group.create_task(self._guard(reading))
                await self._write()
                raise WebSocketDisconnect
        except* WebSocketDisconnect:
            pass
        except* Exception as errors:
            raise _first(errors) from errors
        finally:
            self._idle.stop()
            self._conversation.outbox.close()
            await self._conversation.abandon()

    async def _open(self, model: str, kind: str) -> None:
        decoder = await self._backend.releases.current.describe("speech_decoder")
        speakers = [speaker.name for speaker in decoder.speakers]
        voice = speakers[0] if speakers else VOICES[0]
        self._session = RealtimeSession(self._backend.models, speakers, defaults(model, kind, voice))
        if self._caller.session:
            self._session.value = self._session.merged({"type": kind, **self._caller.session})
        self._inputs = Inputs(self._conversation, self._session, self._backend.access, self._caller)
        self._inputs.speakers, self._inputs.output_rate = speakers, decoder.output_sample_rate
        await self._open_session()
        self._idle = IdleTimer(self._inputs.answer_silence)
        wants_ours = self._websocket.query_params.get("parley_events") == "true"
        self._translator = Translator(self._conversation.session_id, self._expires_at, wants_ours)

    async def _open_session(self) -> None:
        """A new one, or that which the client goes on with."""
        place = self._place
        changes = {} if place.session_id else self._session.changes()
        try:
            await self._conversation.open(place.session_id, changes, self._caller.key_id, place.resumable, place.after)
        except ServiceError as error:
            if error.code not in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.OUT_OF_RANGE):
                raise
            raise ApiError(error.message, "session_not_resumable", "parley_session_id", status=404) from None
        if place.session_id:
            self._session.value = copy.deepcopy(self._kept_session())
        if place.resumes:  # what had come of a question is gone
            self._conversation.emit(ApiEvent({"type": "input_audio_buffer.cleared"}))

    def _kept_session(self) -> dict[str, Any]:
        kept = self._conversation.config.client.get("session")
        if kept is None:
            message = "this session was opened by another API; the Realtime API can only go on with its own"
            raise ApiError(message, "session_not_resumable", "parley_session_id", status=404)
        return kept

    async def _write(self) -> None:
        """What the client is told, until the conversation is over."""
        async for event in self._conversation.delivery.events():
            if isinstance(event.body, AudioDelta) and not event.repeated:
                await self._backend.access.audio(self._caller, event.body.seconds)
            self._idle.note(event.body, self._inputs.idle_seconds)
            for wire_event in self._place.new(event, self._translator.translate(event)):
                await self._websocket.send_text(json.dumps(wire_event, ensure_ascii=False))
                if self._place.resumable:
                    self._websocket.state.last_event_id = wire_event["event_id"]
                if wire_event["type"] == "response.output_audio.delta":
                    self._session.spoke = True

    async def _read(self) -> None:
        """What the client sends, one event after the other."""
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", 1000))
            await self._handle(message)

    async def _handle(self, message: dict[str, Any]) -> None:
        event: ClientEvent | None = None
        self._conversation.count_input()
        try:
            if message.get("text") is None:
                raise ApiError("Messages are text frames of JSON; this one is binary.", "invalid_json")
            event = parse(message["text"])
            await self._inputs.handle(event)
        except AudioUsedUpError:
            raise
        except (ApiError, ServiceError, ValueError) as error:
            told = error_of(error)
            self._conversation.emit(
                ApiEvent({"type": "error", "error": error_body(told, event.event_id if event else None)})
            )

    async def _guard(self, reading: asyncio.Task) -> None:
        """Ends a session that has lasted too long, or whose gateway stops."""
        while True:
            await asyncio.sleep(min(1.0, self._settings.realtime_seconds / 4))
            if self._backend.stopping and not self._conversation.busy:
                raise _stopping()
            if time.time() > self._expires_at:
                minutes = self._settings.realtime_seconds / 60
                message = f"Your session hit the maximum duration of {minutes:g} minutes."
                raise ApiError(message, "session_expired", status=503, type=SERVER)


def _stopping() -> ServiceError:
    return ServiceError(grpc.StatusCode.UNAVAILABLE, "this gateway is stopping; connect again", retry_after=1.0)


def _first(errors: BaseExceptionGroup) -> Exception:
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
