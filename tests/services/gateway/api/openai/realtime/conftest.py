"""A client of the Realtime API that checks every event it is sent against the types of the `openai` package."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from typing import Any

import numpy as np
import pytest
import soxr
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter
from websockets.asyncio.client import ClientConnection, connect

SERVER_EVENT = TypeAdapter(RealtimeServerEvent)
NULLABLE = {  # the only fields that may be null; clients drop events with others
    "previous_item_id", "status_details", "usage", "metadata", "param", "code", "event_id", "tracing", "prompt",
    "include", "transcription", "noise_reduction", "turn_detection", "idle_timeout_ms", "transcript", "audio",
    "conversation_id",
}  # fmt: skip


def nulls(value: Any, name: str = "") -> list[str]:
    """Names of the fields that are null."""
    if isinstance(value, dict):
        return [found for key, each in value.items() for found in nulls(each, key)]
    if isinstance(value, list):
        return [found for each in value for found in nulls(each, name)]
    return [name] if value is None else []


class RealtimeClient:
    def __init__(self, socket: ClientConnection):
        self.socket = socket
        self.events: list[dict[str, Any]] = []  # all that came

    async def send(self, type: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": type, **fields}))

    async def next(self, seconds: float = 15.0) -> dict[str, Any]:
        event = json.loads(await asyncio.wait_for(self.socket.recv(), seconds))
        if not event["type"].startswith("parley."):
            SERVER_EVENT.validate_python(event)
            assert SERVER_EVENT.validate_python(event).type == event["type"]
        assert event["event_id"] not in {old["event_id"] for old in self.events}
        assert set(nulls(event)) <= NULLABLE, event
        self.events.append(event)
        return event

    async def until(self, type: str, seconds: float = 15.0) -> list[dict[str, Any]]:
        """All events up to the first of this type."""
        came = []
        while not came or came[-1]["type"] != type:
            came.append(await self.next(seconds))
            assert came[-1]["type"] != "error" or type == "error", came[-1]
        return came

    async def quiet(self, seconds: float = 0.4) -> list[dict[str, Any]]:
        """What still comes within this time."""
        came = []
        with contextlib.suppress(TimeoutError):
            while True:
                came.append(await self.next(seconds))
        return came

    async def ask(self, type: str, expected: str, **fields: Any) -> dict[str, Any]:
        """Sends an event; returns its answer."""
        await self.send(type, **fields)
        return (await self.until(expected))[-1]

    async def refusal(self, type: str, **fields: Any) -> tuple[str, str | None]:
        """Sends an event that is refused; returns the error's code and param."""
        error = (await self.ask(type, "error", event_id="mine", **fields))["error"]
        assert error["event_id"] == "mine" and error["type"] == "invalid_request_error" and error["message"]
        return error["code"], error["param"]

    async def update(self, **session: Any) -> dict[str, Any]:
        fields = {"type": "realtime", **session}
        return (await self.ask("session.update", "session.updated", session=fields))["session"]

    async def say(self, pcm: bytes, chunk: int = 4800) -> None:
        for start in range(0, len(pcm), chunk):
            audio = base64.b64encode(pcm[start : start + chunk]).decode()
            await self.send("input_audio_buffer.append", audio=audio)

    async def add(self, text: str, **fields: Any) -> dict[str, Any]:
        """Adds a written message of the user."""
        return await self.add_item(
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}, **fields
        )

    async def add_item(self, item: dict[str, Any], **fields: Any) -> dict[str, Any]:
        return await self.ask("conversation.item.create", "conversation.item.done", item=item, **fields)

    async def respond(self, **response: Any) -> list[dict[str, Any]]:
        await self.send("response.create", response=response)
        return await self.until("response.done")


@pytest.fixture
async def open_realtime():
    """`client = await open_realtime(gateway, "model=parley")`: connected, its `session.created` read."""
    async with contextlib.AsyncExitStack() as stack:

        async def open_connection(gateway, query: str = "", **options: Any) -> RealtimeClient:
            url = f"ws://127.0.0.1:{gateway.http_port}/v1/realtime?{query}"
            client = RealtimeClient(await stack.enter_async_context(connect(url, max_size=None, **options)))
            assert (await client.next())["type"] == "session.created"
            return client

        yield open_connection


@pytest.fixture
async def realtime(make_gateway, open_realtime) -> RealtimeClient:
    """Push to talk, transcripts, short answers."""
    client = await open_realtime(await make_gateway(), "model=gpt-realtime")
    audio = {"input": {"turn_detection": None, "transcription": {"model": "whisper-1"}}}
    await client.update(audio=audio, max_output_tokens=8)
    return client


@pytest.fixture(scope="session")
def question_24k(spoken_question) -> bytes:
    """The spoken question as the Realtime API takes it: 24 kHz, 16-bit."""
    return soxr.resample(spoken_question.astype(np.float32), 16_000, 24_000).astype("<i2").tobytes()


def types(events: list[dict[str, Any]]) -> list[str]:
    """Types of the events, runs of the same one written once."""
    names = [event["type"] for event in events]
    return [name for index, name in enumerate(names) if not index or names[index - 1] != name]
