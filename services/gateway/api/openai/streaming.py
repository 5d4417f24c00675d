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
from starlette.types import Message, Receive, Scope, Send

from services.gateway.api.openai.errors import told_of

T = TypeVar("T")

REQUEST_SECONDS = 300.0  # that a request has until its answer begins
SEND_SECONDS = 60.0  # that a client may read nothing of an answer; it keeps a place, and the release that answers it
DONE = b"data: [DONE]\n\n"


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T], seconds: float | None = REQUEST_SECONDS) -> T:
    """The result of `work`, which is cancelled at once where the client goes away. Raises `ClientDisconnect` then, and
    `TimeoutError` where it takes longer than `seconds`.

    `receive`: of a request whose body has been read.
    """
    working, watching = asyncio.create_task(work), asyncio.create_task(_disconnected(receive))
    try:
        await asyncio.wait({working, watching}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        if watching.done():
            raise ClientDisconnect
        raise TimeoutError(f"no answer within {seconds:g} s")
    finally:
        working.cancel()
        watching.cancel()
        await asyncio.wait({working, watching})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class Stream(StreamingResponse):
    """Its generator is closed when it is over, however it ends.

    Starlette cancels over and over what waits within a response whose client is gone, also what cleans up.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await while_connected(receive, self.stream_response(_in_time(send)), seconds=None)
        except ClientDisconnect:
            pass
        finally:
            await self.body_iterator.aclose()


def _in_time(send: Send) -> Send:
    """`send` to which a client that reads nothing is one that has gone."""

    async def send_in_time(message: Message) -> None:
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await send(message)
        except TimeoutError:
            raise ClientDisconnect from None

    return send_in_time


async def stream(request: Request, pieces: AsyncGenerator[bytes, None], media_type: str) -> Stream:
    """The first piece is awaited before the response begins: what fails until then has a status of its own."""
    try:
        first = await while_connected(request.receive, _first(pieces))
    except BaseException:
        await pieces.aclose()
        raise
    return Stream(_from(first, pieces), media_type=media_type)


async def _first(pieces: AsyncGenerator[bytes, None]) -> bytes:
    return await anext(pieces, b"")


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
