"""An answer that is sent as it comes ends where nobody reads it."""

from __future__ import annotations

import asyncio

from services.gateway.api.openai import streaming
from services.gateway.api.openai.streaming import Stream


async def test_a_client_that_reads_nothing_counts_as_gone(monkeypatch):
    monkeypatch.setattr(streaming, "SEND_SECONDS", 0.05)
    closed = asyncio.Event()

    async def pieces():
        try:
            while True:
                yield b"piece"
        finally:
            closed.set()

    async def send(message):
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    async def receive():
        await asyncio.Event().wait()

    async with asyncio.timeout(10):
        await Stream(pieces(), media_type="audio/pcm")({"type": "http"}, receive, send)
    assert closed.is_set()
