"""A client that sends too much, or too fast, is slowed down or refused; others and its own next question are not."""

from __future__ import annotations

import asyncio
import io
import time

import httpx
import numpy as np
import pytest
from PIL import Image

from cli.client import Question
from protos.parley.v1 import conversation_pb2 as wire

SECOND = bytes(2 * 16_000)


@pytest.fixture
def large_picture():
    """Makes pictures of about 0.7 MB: noise, which no format makes smaller."""

    def make(seed: int) -> bytes:
        file = io.BytesIO()
        noise = np.random.default_rng(seed).integers(0, 256, (480, 480, 3), np.uint8)
        Image.fromarray(noise).save(file, "PNG")
        return file.getvalue()

    return make


async def test_a_flood_of_silence_waits(make_gateway, connect):
    gateway = await make_gateway(media__audio_burst_seconds=1.0, media__max_audio_rate=2.0)
    flood = await connect(gateway, turn_detection=wire.TURN_DETECTION_SERVER_VAD)
    other = await connect(gateway, text_only=True)
    began = time.monotonic()
    for _ in range(4):
        await flood.send(audio=SECOND)
    await flood.send(retrieve_item={"item_id": "none"})
    assert (await other.ask(Question(text="hello"))).complete
    async for event in flood.events():
        if event.HasField("error"):
            break
    assert time.monotonic() - began > 1.4  # 3 s at twice their pace


async def test_pictures_above_the_budget_are_refused_until_there_is_room_again(make_gateway, connect, large_picture):
    gateway = await make_gateway(server__max_held_mb_each=1)
    client = await connect(gateway, text_only=True)
    refused = await client.ask(Question(text="what is it?", images=[large_picture(1), large_picture(2)]))
    assert (refused.finish_reason, refused.error.code) == ("failed", "RESOURCE_EXHAUSTED")
    assert "this connection" in refused.error.message
    for seed in (3, 4):
        assert (await client.ask(Question(text="what is it?", images=[large_picture(seed)]))).complete
    await client.close()
    for _ in range(100):
        if not gateway.backend.memory._holders:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("a connection that has ended still holds something")


async def test_bodies_above_the_budget_are_refused(make_gateway):
    gateway = await make_gateway(server__max_held_mb=1)
    gateway.backend.memory.holder(lambda: 900_000)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{gateway.http_port}/v1") as http:
        body = {"model": "parley", "messages": [{"role": "user", "content": "x" * 500_000}]}
        answer = await http.post("/chat/completions", json=body)
        assert answer.status_code == 429 and answer.json()["error"]["code"] == "rate_limit_exceeded"
        assert int(answer.headers["retry-after"]) > 0
        assert (await http.get("/models")).status_code == 200
