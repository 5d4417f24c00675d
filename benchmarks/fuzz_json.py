"""Random JSON for the OpenAI face: bodies and events that are right but for some places, and bytes that are no JSON."""

from __future__ import annotations

import base64
import copy
import json
from random import Random
from typing import Any

from benchmarks.fuzz_files import damaged

ASKED = [{"role": "user", "content": "hello"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
SPOKEN = {"type": "realtime", "output_modalities": ["text"], "audio": {"input": {"turn_detection": None}}}
# Path → bodies that are answered.
BODIES: dict[str, list[dict[str, Any]]] = {
    "/v1/chat/completions": [
        {"model": "parley", "messages": ASKED, "max_completion_tokens": 4, "stream": False},
        {"model": "parley", "messages": ASKED, "stream": True, "stream_options": {"include_usage": True}},
        {"model": "parley", "messages": ASKED, "tools": [TOOL], "tool_choice": "auto", "temperature": 0.5, "seed": 1},
        {
            "model": "parley", "modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "pcm16"},
            "messages": [
                {"role": "system", "content": "be short"},
                {"role": "user", "content": [
                    {"type": "text", "text": "hello"}, {"type": "image_url", "image_url": {"url": "IMAGE"}},
                ]},
            ],
        },
    ],
    "/v1/audio/speech": [{"model": "parley", "input": "hello", "voice": "alloy", "response_format": "wav", "speed": 1}],
    "/v1/realtime/client_secrets": [{"session": {"type": "realtime"}, "expires_after": {"seconds": 60}}],
}  # fmt: skip
EVENTS: list[dict[str, Any]] = [
    {"type": "session.update", "session": SPOKEN},
    {"type": "input_audio_buffer.append", "audio": "SOUND"},
    {"type": "input_audio_buffer.commit"},
    {"type": "input_audio_buffer.clear"},
    {"type": "conversation.item.create", "previous_item_id": None, "item": {
        "type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}],
    }},
    {"type": "conversation.item.create", "item": {
        "type": "message", "role": "user", "content": [{"type": "input_image", "image_url": "IMAGE"}],
    }},
    {"type": "conversation.item.retrieve", "item_id": "x"},
    {"type": "conversation.item.truncate", "item_id": "x", "content_index": 0, "audio_end_ms": 100},
    {"type": "conversation.item.delete", "item_id": "x"},
    {"type": "response.create", "response": {"output_modalities": ["text"], "max_output_tokens": 4}},
    {"type": "response.cancel"},
]  # fmt: skip
VALUES = (
    None, True, 0, -1, 1, 0.5, 1e308, 1 << 63, "", "x", "\x00", "é" * 300, "a" * 70_000, [], {}, [None], [[]],
    {"x": {}}, "data:image/png;base64,AAAA", "http://127.0.0.1/x.png", "AAAA",
)  # fmt: skip


def body(path: str, random: Random) -> bytes:
    """Of a request."""
    return _written(random.choice(BODIES[path]), random)


def event(random: Random) -> bytes:
    """Of a Realtime client."""
    return _written(random.choice(EVENTS), random)


def _written(whole: dict[str, Any], random: Random) -> bytes:
    value = _filled(copy.deepcopy(whole), random)
    for _ in range(random.choice((0, 1, 1, 1, 2, 3))):
        value = changed(value, random)
    text = json.dumps(value).encode()
    if random.random() < 0.1:
        at = random.randrange(len(text) + 1)
        text = random.choice(
            (text[:at], text[:at] + random.randbytes(3) + text[at:], random.randbytes(20), b"[" * 5000)
        )
    return text


def _filled(value: Any, random: Random) -> Any:
    """With files in their places, some of them damaged."""
    if isinstance(value, dict):
        return {name: _filled(each, random) for name, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, random) for each in value]
    if value == "IMAGE":
        return "data:image/png;base64," + base64.b64encode(damaged("picture", random)).decode()
    return base64.b64encode(random.randbytes(2 * random.randrange(5000))).decode() if value == "SOUND" else value


def changed(value: Any, random: Random) -> Any:
    """The same with one place other: replaced, left out, or added."""
    places = list(_places(value))
    if not places or random.random() < 0.05:
        return _other(random)
    holder, key = random.choice(places)
    how = random.random()
    if how < 0.65:
        holder[key] = _other(random)
    elif how < 0.85:
        del holder[key]
    elif isinstance(holder, dict):
        holder[random.choice(("x", "type", "role", "", "model"))] = _other(random)
    else:
        holder.extend([holder[key]] * random.choice((1, 300)))
    return value


def _other(random: Random) -> Any:
    """A copy: it may be changed in its turn, and the next input is made of its number alone."""
    return copy.deepcopy(random.choice(VALUES))


def _places(value: Any):
    """Every (dict or list, key or index) inside."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in list(inside):
        yield value, key
        yield from _places(each)
