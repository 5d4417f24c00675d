"""Items of the Realtime API ↔ items of the session."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal

from openai.types import realtime as types

from services.gateway.api.openai.errors import ApiError
from services.gateway.api.openai.realtime.formats import read_base64
from services.gateway.api.openai.validation import validate
from services.gateway.events.items import Item, ItemPart, played_text

MAX_ID = 32  # characters, as OpenAI has it
MESSAGES = {
    "system": types.RealtimeConversationItemSystemMessage,
    "user": types.RealtimeConversationItemUserMessage,
    "assistant": types.RealtimeConversationItemAssistantMessage,
}
CALLS = {
    "function_call": types.RealtimeConversationItemFunctionCall,
    "function_call_output": types.RealtimeConversationItemFunctionCallOutput,
}
CONTENT = {  # role → types of content
    "system": ("input_text",),
    "user": ("input_text", "input_audio", "input_image"),
    "assistant": ("output_text", "output_audio"),
}
IMAGES = ("data:image/png;base64,", "data:image/jpeg;base64,", "data:image/webp;base64,")

Encode = Callable[[Literal["image", "speech"], bytes], Awaitable[ItemPart]]


def check_item(raw: Any, path: str) -> None:
    """Its form. Raises `ApiError`."""
    if not isinstance(raw, dict):
        raise ApiError(f"Missing required parameter: '{path}'.", "missing_required_parameter", path)
    kind, role = raw.get("type"), raw.get("role")
    if kind is None:
        raise ApiError(f"Missing required parameter: '{path}.type'.", "missing_required_parameter", f"{path}.type")
    for name, value in (("type", kind), ("role", role)):
        if value is not None and not isinstance(value, str):
            raise ApiError(f"Invalid value for '{path}.{name}': it is a string.", "invalid_type", f"{path}.{name}")
    known = {"message": MESSAGES.get(role), **CALLS}
    if kind not in known:
        names = ", ".join(known)
        raise ApiError(f"Items of type {kind!r} are not supported; use {names}.", "invalid_value", f"{path}.type")
    if known[kind] is None:
        message = f"Invalid value for '{path}.role': a message is of {', '.join(MESSAGES)}."
        raise ApiError(message, "invalid_value", f"{path}.role")
    item = validate(known[kind], raw, path)
    if item.id is not None and not 0 < len(item.id) <= MAX_ID:
        raise ApiError(f"An id has 1 to {MAX_ID} characters.", "invalid_value", f"{path}.id")


async def read_item(raw: Mapping[str, Any], path: str, encode: Encode) -> Item:
    """An item that has been checked; its pictures and speech are encoded. Raises `ApiError`, `ServiceError`."""
    item_id = raw.get("id") or ""
    if raw["type"] == "function_call":
        call = {"call_id": raw.get("call_id") or item_id or "call", "name": raw["name"], "arguments": raw["arguments"]}
        return Item(id=item_id, type="function_call", **call)
    if raw["type"] == "function_call_output":
        return Item(id=item_id, type="function_call_output", call_id=raw["call_id"], output=raw["output"])
    parts = []
    for index, content in enumerate(raw["content"]):
        parts.append(await _part(content, raw["role"], f"{path}.content.{index}", encode))
    return Item(id=item_id, role=raw["role"], parts=parts)


async def _part(content: Mapping[str, Any], role: str, path: str, encode: Encode) -> ItemPart:
    kind = content.get("type") or CONTENT[role][0]
    if kind not in CONTENT[role]:
        names = ", ".join(CONTENT[role])
        message = f"Content of type {kind!r} is not supported in a message of the {role}; use {names}."
        raise ApiError(message, "unsupported_content_type", f"{path}.type")
    match kind:
        case "input_image":
            return await encode("image", _picture(content.get("image_url"), f"{path}.image_url"))
        case "input_audio" if content.get("audio"):
            part = await encode("speech", read_base64(content["audio"], f"{path}.audio"))
            return part if not content.get("transcript") else part.model_copy(update={"text": content["transcript"]})
        case "input_audio" | "output_audio":
            return ItemPart(kind="text", text=content.get("transcript") or "")
    return ItemPart(kind="text", text=content.get("text") or "")


def _picture(url: Any, path: str) -> bytes:
    """The file in a data URL."""
    start = next((start for start in IMAGES if isinstance(url, str) and url.startswith(start)), None)
    if start is None:
        message = f"Invalid value for '{path}': a picture is a data URL of a PNG, JPEG or WebP file in base64."
        raise ApiError(message, "invalid_value", path)
    try:
        return b64decode(url[len(start) :], validate=True)
    except (binascii.Error, ValueError):
        raise ApiError(f"Invalid value for '{path}': it is not valid base64.", "invalid_value", path) from None


def write_item(item: Item, status: str = "completed", audio: str = "") -> dict[str, Any]:
    """As clients see it. `audio`: of what is spoken in it, in base64."""
    common = {"id": item.id, "object": "realtime.item", "type": item.type, "status": status}
    if item.type == "function_call":
        return common | {"call_id": item.call_id, "name": item.name, "arguments": item.arguments}
    if item.type == "function_call_output":
        return common | {"call_id": item.call_id, "output": item.output}
    content = [_content(item, part) for part in item.parts]
    for each in content:
        if audio and each["type"] in ("input_audio", "output_audio"):
            each["audio"] = audio
    return common | {"role": item.role, "content": content}


def _content(item: Item, part: ItemPart) -> dict[str, Any]:
    if item.role == "assistant":
        if item.marks:
            return {"type": "output_audio", "transcript": played_text(part.text, item.marks, item.played)}
        return {"type": "output_text", "text": part.text}
    match part.kind:
        case "speech":
            return {"type": "input_audio", "transcript": part.text or None}
        case "image":
            return {"type": "input_image", "detail": "auto"}
    return {"type": "input_text", "text": part.text}
