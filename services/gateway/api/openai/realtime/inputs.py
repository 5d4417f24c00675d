"""What a client of the Realtime API asks for → what the conversation does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal

import grpc

from services.gateway.access.access import Access, Caller
from services.gateway.api.openai.errors import ApiError
from services.gateway.api.openai.realtime.client_events import ClientEvent, appended, checked
from services.gateway.api.openai.realtime.formats import InputDecoder, rate_of, read_base64, to_rate
from services.gateway.api.openai.realtime.items import check_item, read_item
from services.gateway.api.openai.realtime.responses import turn_of
from services.gateway.api.openai.realtime.session import (
    RealtimeSession,
    answer_changes,
    check_max_tokens,
    check_modalities,
    check_tools,
    response_value,
)
from services.gateway.conversation.conversation import Conversation
from services.gateway.conversation.request import TurnRequest
from services.gateway.events import ApiEvent
from services.gateway.events.items import Item, ItemPart
from services.rpc.errors import ServiceError

MAX_APPEND = 15 << 20  # bytes of audio in one event
EXCESS_MS = 1_000  # that a truncation may lie behind the end of the audio: clients count by their clocks
MAX_METADATA = 16
RESPONSE_FIELDS = {  # of response.create
    "instructions", "output_modalities", "audio", "tools", "tool_choice", "max_output_tokens", "metadata",
    "parallel_tool_calls",
}  # fmt: skip


class Inputs:
    """Of one connection. `handle` raises `ApiError` or `ServiceError` for what is refused; the session goes on."""

    def __init__(self, conversation: Conversation, session: RealtimeSession, access: Access, caller: Caller):
        self._conversation, self._session = conversation, session
        self._access, self._caller = access, caller
        self._decoder = InputDecoder()
        self.speakers: list[str] = []
        self.output_rate = 0  # Hz, of the speech decoder
        self._handlers: dict[str, Callable[[ClientEvent], Awaitable[None]]] = {
            "session.update": self._update,
            "input_audio_buffer.append": self._append,
            "input_audio_buffer.commit": self._commit,
            "input_audio_buffer.clear": self._clear,
            "conversation.item.create": self._create_item,
            "conversation.item.retrieve": self._retrieve_item,
            "conversation.item.truncate": self._truncate_item,
            "conversation.item.delete": self._delete_item,
            "response.create": self._create_response,
            "response.cancel": self._cancel_response,
            "output_audio_buffer.clear": self._clear_output,
        }

    async def handle(self, event: ClientEvent) -> None:
        await self._handlers[event.type](event)

    def _tell(self, type: str, **fields: Any) -> None:
        self._conversation.emit(ApiEvent({"type": type, **fields}))

    async def _update(self, event: ClientEvent) -> None:
        before = self._session.value
        self._session.value = self._session.merged(event.body.get("session"))
        try:
            await self._conversation.update(self._session.changes())
        except BaseException:
            self._session.value = before
            raise

    @property
    def idle_seconds(self) -> float | None:
        """Of silence after an answer, that the session answers; None: it does not."""
        detection = self._session.value["audio"]["input"]["turn_detection"] or {}
        milliseconds = detection.get("idle_timeout_ms")
        return None if milliseconds is None or self._session.transcribes_only else milliseconds / 1000

    async def answer_silence(self) -> None:
        if (seconds := self.idle_seconds) is not None:
            await self._conversation.answer_silence(TurnRequest(self._conversation.config, explicit=True), seconds)

    # The input audio buffer.

    async def _append(self, event: ClientEvent) -> None:
        data = read_base64(appended(event), "audio")
        if len(data) > MAX_APPEND:
            message = f"{len(data)} bytes of audio are above the limit of {MAX_APPEND} in one event; send less"
            raise ApiError(message, "invalid_value", "audio")
        pcm, rate = self._decoder.decode(data, self._session.input_format), rate_of(self._session.input_format)
        await self._access.audio(self._caller, len(pcm) / 2 / rate)
        step = 2 * rate // 2  # half a second
        for start in range(0, len(pcm), step):
            if start:
                await asyncio.sleep(0)  # other sessions have their turn
            await self._conversation.add_audio(pcm[start : start + step])

    async def _commit(self, event: ClientEvent) -> None:
        checked(event)
        self._decoder = InputDecoder()  # half a sample at the end is of no other question
        try:
            await self._conversation.commit_audio()
        except ServiceError as error:
            raise _precondition(error, "input_audio_buffer_commit_empty") from None

    async def _clear(self, event: ClientEvent) -> None:
        checked(event)
        self._decoder = InputDecoder()
        await self._conversation.clear_audio()
        self._tell("input_audio_buffer.cleared")

    async def _clear_output(self, event: ClientEvent) -> None:
        message = "output_audio_buffer.clear is of WebRTC and SIP only; over a WebSocket the client plays the audio"
        raise ApiError(message, "invalid_value", "type")

    # Items.

    async def _create_item(self, event: ClientEvent) -> None:
        raw = event.body.get("item")
        check_item(raw, "item")
        item = await read_item(raw, "item", self._encode)
        before = event.body.get("previous_item_id") or ""
        if not isinstance(before, str):
            raise ApiError("previous_item_id is a string.", "invalid_type", "previous_item_id")
        codes = {grpc.StatusCode.ALREADY_EXISTS: ("item_create_duplicate_item_id", "item.id")}
        codes[grpc.StatusCode.NOT_FOUND] = ("item_create_invalid_previous_item_id", "previous_item_id")
        await _named(self._conversation.create_item(item, before), codes)

    async def _encode(self, kind: Literal["image", "speech"], data: bytes) -> ItemPart:
        """Content of an item: its speech is in the format of the session's input."""
        if kind == "speech":
            rate = self._conversation.model_rate
            data = await asyncio.to_thread(to_rate, data, self._session.input_format, rate)
        return await self._conversation.encode_part(kind, data)

    async def _retrieve_item(self, event: ClientEvent) -> None:
        codes = {grpc.StatusCode.NOT_FOUND: ("item_retrieve_invalid_item_id", "item_id")}
        await _named(self._conversation.retrieve_item(checked(event).item_id, with_audio=True), codes)

    async def _truncate_item(self, event: ClientEvent) -> None:
        wanted = checked(event)
        codes = {grpc.StatusCode.NOT_FOUND: ("item_truncate_invalid_item_id", "item_id")}
        item = await _named(self._conversation.item(wanted.item_id), codes)
        if item.role != "assistant" or not item.marks:
            message = f"Item {item.id!r} is no spoken message of the assistant; only those can be truncated."
            raise ApiError(message, "unsupported_content_type", "item_id")
        await _named(self._conversation.truncate_item(item.id, _samples(item, wanted)), codes)

    async def _delete_item(self, event: ClientEvent) -> None:
        codes = {grpc.StatusCode.NOT_FOUND: ("item_delete_invalid_item_id", "item_id")}
        await _named(self._conversation.delete_item(checked(event).item_id), codes)

    # Responses.

    async def _create_response(self, event: ClientEvent) -> None:
        if self._session.transcribes_only:
            raise ApiError("A transcription session has no responses.", "invalid_value", "type")
        limits = await self._access.request(self._caller)
        request = await self._request(event.body.get("response") or {}, event)
        try:
            await self._conversation.answer(request)
        except ServiceError as error:
            raise _precondition(error, "conversation_already_has_active_response") from None
        if limits is not None:
            fields = {"limit": limits.limit, "remaining": limits.remaining, "reset_seconds": limits.reset_seconds}
            self._tell("rate_limits.updated", rate_limits=[{"name": "requests", **fields}])

    async def _request(self, response: Any, event: ClientEvent) -> TurnRequest:
        raw_items = response.pop("input", None) if isinstance(response, dict) else None
        checked(event)
        own = {name: value for name, value in response.items() if name in RESPONSE_FIELDS and value is not None}
        _check_response(response)
        wanted = response_value(self._session.value, own)
        config = self._conversation.config.model_copy(update=answer_changes(wanted, self.speakers))
        items = None if raw_items is None else await self._input_items(raw_items)
        kept = response.get("conversation") != "none"
        return TurnRequest(config, items=items, kept=kept, explicit=True, client={"response": wanted, "kept": kept})

    async def _input_items(self, raw_items: Any) -> tuple[Item, ...]:
        if not isinstance(raw_items, list):
            raise ApiError("response.input is a list of items.", "invalid_type", "response.input")
        items = []
        for index, raw in enumerate(raw_items):
            path = f"response.input.{index}"
            if isinstance(raw, dict) and raw.get("type") == "item_reference":
                codes = {grpc.StatusCode.NOT_FOUND: ("item_retrieve_invalid_item_id", f"{path}.id")}
                items.append(await _named(self._conversation.item(str(raw.get("id"))), codes))
            else:
                check_item(raw, path)
                items.append(await read_item(raw, path, self._encode))
        return tuple(items)

    async def _cancel_response(self, event: ClientEvent) -> None:
        response_id = checked(event).response_id
        if not await self._conversation.cancel_answer(turn_of(response_id) if response_id else ""):
            message = "Cancellation failed: no active response found"
            raise ApiError(message, "response_cancel_not_active")


def _check_response(response: Mapping[str, Any]) -> None:
    if response.get("output_modalities"):
        check_modalities(response["output_modalities"], "response.output_modalities")
    if response.get("max_output_tokens") is not None:
        check_max_tokens(response["max_output_tokens"], "response.max_output_tokens")
    if response.get("conversation") not in (None, "auto", "none"):
        raise ApiError("response.conversation is auto or none.", "invalid_value", "response.conversation")
    if response.get("prompt") is not None:
        raise ApiError("Stored prompts are not supported; send instructions.", "invalid_value", "response.prompt")
    if len(response.get("metadata") or ()) > MAX_METADATA:
        raise ApiError(f"metadata has at most {MAX_METADATA} pairs.", "invalid_value", "response.metadata")
    if "tools" in response:
        check_tools(response, "response")


def _samples(item: Item, wanted: Any) -> int:
    """How much of the item is to stay, at the speech decoder's rate."""
    if wanted.content_index != 0:
        raise ApiError("content_index is 0: a message of the assistant has one.", "invalid_value", "content_index")
    total, wanted_ms = item.marks[-1][0], wanted.audio_end_ms
    total_ms = 1000 * total / max(1, item.sample_rate)  # of which nothing was heard there is no rate
    if wanted_ms < 0 or wanted_ms > total_ms + EXCESS_MS:
        message = f"Audio content of {total_ms:.0f}ms is already shorter than {wanted_ms}ms"
        raise ApiError(message, "invalid_value", "audio_end_ms")
    return min(total, round(wanted_ms * item.sample_rate / 1000))


async def _named(operation: Awaitable[Any], codes: Mapping[grpc.StatusCode, tuple[str, str]]) -> Any:
    """Runs it; a refusal with one of the statuses becomes an error with this code and param."""
    try:
        return await operation
    except ServiceError as error:
        if error.code not in codes:
            raise
        code, param = codes[error.code]
        raise ApiError(error.message, code, param) from None


def _precondition(error: ServiceError, code: str) -> Exception:
    return ApiError(error.message, code) if error.code is grpc.StatusCode.FAILED_PRECONDITION else error
