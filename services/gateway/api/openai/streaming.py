"""Answers that are cancelled when their reader goes away, and answers as server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel
from starlette.requests import ClientDisconnect
from starlette.responses import StreamingResponse

from services.gateway.api.openai.errors import told_of

T = TypeVar("T")

DONE = b"data: [DONE]\n\n"


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled at once where the client goes away. Raises `ClientDisconnect` then."""
    working, watching = asyncio.create_task(work), asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        watching.cancel()
        await asyncio.wait({working, watching})


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


class Stream(StreamingResponse):
    """Its generator is closed when it is over, however it ends."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self.body_iterator.aclose()


async def stream(request: Request, pieces: AsyncGenerator[bytes, None], media_type: str) -> Stream:
    """The first piece is awaited before the response begins: what fails until then has a status of its own."""
    try:
        first = await while_connected(request, anext(pieces, b""))
    except BaseException:
        await pieces.aclose()
        raise
    return Stream(_from(first, pieces), media_type=media_type)


async def _from(first: bytes, pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    try:
        yield first
        async for piece in pieces:
            yield piece
    finally:
        await pieces.aclose()


async def server_sent(request: Request, events: AsyncGenerator[BaseModel, None], end: bytes = b"") -> Stream:
    """Events in the form of OpenAI's streams; what fails after the first is a line that holds `error`."""
    return await stream(request, _lines(request.url.path, events, end), "text/event-stream")


async def _lines(path: str, events: AsyncGenerator[BaseModel, None], end: bytes) -> AsyncGenerator[bytes, None]:
    begun = False
    try:
        async for event in events:
            yield line(event.model_dump(mode="json", exclude_unset=True))
            begun = True
    except Exception as error:
        if not begun:
            raise
        yield line({"error": told_of(error, path).body()})
        return
    finally:
        await events.aclose()
    yield end


def line(content: Any) -> bytes:
    return b"data: " + json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"
