"""One response: what an answer says and calls → its events, in the order that clients expect."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping
from typing import Any

from services.gateway.api.openai.realtime.formats import OutputEncoder
from services.gateway.api.openai.realtime.item_order import ItemOrder
from services.gateway.events import AudioDelta, Failed, FunctionCallDelta, FunctionCallDone, TurnDone, Usage

WireEvent = dict[str, Any]


def response_id(turn_id: str) -> str:
    return f"resp_{turn_id}"


def turn_of(response_id: str) -> str:
    return response_id.removeprefix("resp_")


class Call:
    """A function call that is being written."""

    def __init__(self, index: int, body: FunctionCallDelta | FunctionCallDone):
        self.index, self.item_id, self.call_id, self.name = index, body.item_id, body.call_id, body.name
        self.arguments, self.done = "", False

    def item(self, status: str) -> dict[str, Any]:
        fields = {"call_id": self.call_id, "name": self.name, "arguments": self.arguments}
        return {"id": self.item_id, "object": "realtime.item", "type": "function_call", "status": status, **fields}


class ResponseWriter:
    """`wanted`: the session, with the response's own fields in front. `order`: of the conversation's items.

    Without a `conversation_id` its items are not the conversation's.
    """

    def __init__(
        self, turn_id: str, item_id: str, wanted: Mapping[str, Any], conversation_id: str | None, order: ItemOrder
    ):
        self.id, self._item_id, self._wanted = response_id(turn_id), item_id, wanted
        self._conversation_id, self._order = conversation_id, order
        self._spoken = wanted["output_modalities"] == ["audio"]
        self._text = ""
        self._message: int | None = None  # its index in the output
        self._calls: dict[str, Call] = {}
        self._encoder: OutputEncoder | None = None
        self._count = 0  # items of the output
        self.failure: Failed | None = None

    def created(self) -> Iterator[WireEvent]:
        yield {"type": "response.created", "response": self._response("in_progress", None, [], None)}

    # Deltas.

    def text(self, text: str) -> Iterator[WireEvent]:
        yield from self._open_message()
        self._text += text
        kind = "response.output_audio_transcript.delta" if self._spoken else "response.output_text.delta"
        yield {"type": kind, **self._of_part(), "delta": text}

    def audio(self, body: AudioDelta) -> Iterator[WireEvent]:
        yield from self._open_message()
        if self._encoder is None:
            self._encoder = OutputEncoder(self._wanted["audio"]["output"]["format"], body.sample_rate)
        yield from self._audio_deltas(self._encoder.feed(body.audio))

    def call_delta(self, body: FunctionCallDelta) -> Iterator[WireEvent]:
        call = self._calls.get(body.item_id)
        if call is None:
            call = self._calls[body.item_id] = Call(self._next(), body)
            yield from self._added(call.index, call.item("in_progress"))
        if body.arguments:
            call.arguments += body.arguments
            yield {"type": "response.function_call_arguments.delta", **self._of_call(call), "delta": body.arguments}

    def call_done(self, body: FunctionCallDone) -> Iterator[WireEvent]:
        yield from self.call_delta(FunctionCallDelta(body.item_id, body.call_id, body.name, ""))
        call = self._calls[body.item_id]
        call.arguments, call.done = body.arguments, True
        fields = {"name": call.name, "arguments": call.arguments}
        yield {"type": "response.function_call_arguments.done", **self._of_call(call), **fields}
        yield from self._item_done(call.index, call.item("completed"))

    # The end.

    def done(self, body: TurnDone) -> Iterator[WireEvent]:
        status, details = self._ending(body)
        item_status = "completed" if status == "completed" else "incomplete"
        if self._message is not None:
            yield from self._close_message(item_status)
        for call in self._calls.values():
            if not call.done:
                yield from self._item_done(call.index, call.item("incomplete"))
        output = {call.index: call.item("completed" if call.done else "incomplete") for call in self._calls.values()}
        if self._message is not None:
            output[self._message] = self._message_item(item_status)
        items = [output[index] for index in sorted(output)]
        yield {"type": "response.done", "response": self._response(status, details, items, body.usage)}

    def _ending(self, body: TurnDone) -> tuple[str, dict[str, Any] | None]:
        match body.finish_reason:
            case "cancelled":
                reason = "turn_detected" if body.by_speech else "client_cancelled"
                return "cancelled", {"type": "cancelled", "reason": reason}
            case "length":
                return "incomplete", {"type": "incomplete", "reason": "max_output_tokens"}
            case "failed":
                told = self.failure or Failed("INTERNAL", "the answer failed")
                error = {"type": "server_error", "code": told.code.lower(), "message": told.message}
                return "failed", {"type": "failed", "error": error}
        return "completed", None

    # Pieces.

    def _next(self) -> int:
        self._count += 1
        return self._count - 1

    def _open_message(self) -> Iterator[WireEvent]:
        if self._message is not None:
            return
        self._message = self._next()
        item = self._message_item("in_progress") | {"content": []}
        yield from self._added(self._message, item)
        yield {"type": "response.content_part.added", **self._of_part(), "part": self._part("")}

    def _close_message(self, status: str) -> Iterator[WireEvent]:
        if self._spoken:
            if self._encoder is not None:
                yield from self._audio_deltas(self._encoder.finish())
            yield {"type": "response.output_audio.done", **self._of_part()}
            yield {"type": "response.output_audio_transcript.done", **self._of_part(), "transcript": self._text}
        else:
            yield {"type": "response.output_text.done", **self._of_part(), "text": self._text}
        yield {"type": "response.content_part.done", **self._of_part(), "part": self._part(self._text)}
        yield from self._item_done(self._message, self._message_item(status))

    def _audio_deltas(self, pieces: Iterator[bytes]) -> Iterator[WireEvent]:
        for piece in pieces:
            yield {"type": "response.output_audio.delta", **self._of_part(), "delta": b64encode(piece).decode()}

    def _added(self, index: int, item: dict[str, Any]) -> Iterator[WireEvent]:
        yield {"type": "response.output_item.added", **self._of_item(index), "item": item}
        if self._conversation_id is not None:
            previous = self._order.last
            self._order.add(item["id"], previous)
            yield {"type": "conversation.item.added", "previous_item_id": previous or None, "item": item}

    def _item_done(self, index: int, item: dict[str, Any]) -> Iterator[WireEvent]:
        yield {"type": "response.output_item.done", **self._of_item(index), "item": item}
        if self._conversation_id is not None:
            yield {"type": "conversation.item.done", "item": item}

    def _of_item(self, index: int) -> dict[str, Any]:
        return {"response_id": self.id, "output_index": index}

    def _of_part(self) -> dict[str, Any]:
        return {"item_id": self._item_id, "content_index": 0, **self._of_item(self._message)}

    def _of_call(self, call: Call) -> dict[str, Any]:
        return {"item_id": call.item_id, "call_id": call.call_id, **self._of_item(call.index)}

    def _part(self, text: str) -> dict[str, Any]:
        return {"type": "audio", "transcript": text} if self._spoken else {"type": "text", "text": text}

    def _message_item(self, status: str) -> dict[str, Any]:
        spoken = {"type": "output_audio", "transcript": self._text}
        content = [spoken if self._spoken else {"type": "output_text", "text": self._text}]
        item = {"id": self._item_id, "object": "realtime.item", "type": "message", "status": status}
        return item | {"role": "assistant", "content": content}

    def _response(
        self, status: str, details: dict[str, Any] | None, output: list[dict[str, Any]], usage: Usage | None
    ) -> dict[str, Any]:
        audio = self._wanted["audio"]["output"]
        return {
            "object": "realtime.response",
            "id": self.id,
            "status": status,
            "status_details": details,
            "output": output,
            "conversation_id": self._conversation_id,
            "output_modalities": self._wanted["output_modalities"],
            "max_output_tokens": self._wanted["max_output_tokens"],
            "audio": {"output": {"format": audio["format"], "voice": audio["voice"]}},
            "usage": None if usage is None else _usage(usage),
            "metadata": self._wanted.get("metadata"),
        }


def _usage(usage: Usage) -> dict[str, Any]:
    text = max(0, usage.prompt_tokens - usage.prompt_audio_tokens - usage.prompt_image_tokens)
    return {
        "total_tokens": usage.prompt_tokens + usage.answer_tokens,
        "input_tokens": usage.prompt_tokens,
        "output_tokens": usage.answer_tokens,
        "input_token_details": {
            "text_tokens": text,
            "audio_tokens": usage.prompt_audio_tokens,
            "image_tokens": usage.prompt_image_tokens,
            "cached_tokens": usage.cached_tokens,
        },
        "output_token_details": {"text_tokens": usage.answer_tokens, "audio_tokens": 0},
    }
