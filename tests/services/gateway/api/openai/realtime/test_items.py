"""Items of the Realtime API and of the session, in both directions."""

from __future__ import annotations

import base64

import pytest

from services.gateway.api.openai.errors import ApiError
from services.gateway.api.openai.realtime.items import check_item, read_item, write_item
from services.gateway.events.items import Item, ItemPart, Ref


async def encode(kind, data) -> ItemPart:
    return ItemPart(
        kind=kind, ref=Ref(weights="w", hash=data.hex(), length=1), text="heard" if kind == "speech" else ""
    )


async def read(raw: dict) -> Item:
    check_item(raw, "item")
    return await read_item(raw, "item", encode)


def message(role: str, *content: dict, **fields) -> dict:
    return {"type": "message", "role": role, "content": list(content), **fields}


DATA = base64.b64encode(b"\1\2").decode()


async def test_a_message_of_the_user_has_text_speech_and_pictures():
    raw = message(
        "user",
        {"type": "input_text", "text": "look"},
        {"type": "input_image", "image_url": f"data:image/jpeg;base64,{DATA}", "detail": "low"},
        {"type": "input_audio", "audio": DATA},
        {"type": "input_audio", "transcript": "said before"},
        id="mine",
    )
    item = await read(raw)
    assert item.id == "mine" and [part.kind for part in item.parts] == ["text", "image", "speech", "text"]
    assert [part.ref.hash for part in item.parts[1:3]] == ["0102", "0102"]
    assert [content["type"] for content in write_item(item)["content"]] == [
        "input_text", "input_image", "input_audio", "input_text",
    ]  # fmt: skip


async def test_a_message_of_the_assistant_may_have_been_spoken_elsewhere():
    item = await read(message("assistant", {"type": "output_audio", "transcript": "red"}))
    assert write_item(item)["content"] == [{"type": "output_text", "text": "red"}]


def test_of_a_spoken_answer_clients_see_what_was_played():
    parts = [ItemPart(kind="text", text="red and blue")]
    item = Item(id="a", role="assistant", parts=parts, marks=[(100, 3), (200, 12)], played=100, sample_rate=24_000)
    assert write_item(item, audio="AAA=")["content"] == [{"type": "output_audio", "transcript": "red", "audio": "AAA="}]


@pytest.mark.parametrize(
    ("raw", "code", "param"),
    [
        (None, "missing_required_parameter", "item"),
        ({"role": "user"}, "missing_required_parameter", "item.type"),
        ({"type": "message", "role": "tool", "content": []}, "invalid_value", "item.role"),
        ({"type": "message", "role": "user"}, "missing_required_parameter", "item.content"),
        (message("user", {"type": "input_file"}), "invalid_value", "item.content.0.type"),
        (message("user", {"type": "input_text", "text": "x", "y": 1}), "unknown_parameter", "item.content.0.y"),
        (message("user", id="x" * 40), "invalid_value", "item.id"),
        (message("user", {"type": "input_audio", "audio": "&"}), "invalid_value", "item.content.0.audio"),
        (message("user", {"type": "input_image"}), "invalid_value", "item.content.0.image_url"),
        ({"type": "function_call", "name": "now"}, "missing_required_parameter", "item.arguments"),
    ],
)
async def test_what_is_wrong_is_named(raw, code, param):
    with pytest.raises(ApiError) as caught:
        await read(raw)
    assert (caught.value.code, caught.value.param) == (code, param)
