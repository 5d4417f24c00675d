"""Bounds the body of an HTTP request: its size, its time, and that it is sent as it is, not compressed."""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.gateway.api.guards.refusal import refuse
from services.gateway.api.openai.errors import ApiError

BODY_SECONDS = 60.0  # that a client may take to send its body


class BodyLimit:
    def __init__(self, app: ASGIApp, max_bytes: int):
        self._app, self._max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif (error := self._check(Headers(scope=scope))) is not None:
            await refuse(scope, receive, send, error)
        else:
            await self._app(scope, self._bounded(receive), send)

    def _check(self, headers: Headers) -> ApiError | None:
        """What the headers alone say against it."""
        encoding, length = headers.get("content-encoding", "identity"), headers.get("content-length", "0")
        if encoding.lower() != "identity":
            message = f"a body with content-encoding {encoding[:50]!r} is not accepted; send it as it is"
            return ApiError(message, "unsupported_content_encoding", status=415)
        if length.isdecimal() and int(length) > self._max_bytes:
            return ApiError(self._too_large(), "too_large", status=413)
        return None

    def _bounded(self, receive: Receive) -> Receive:
        """`receive` that raises once the body is larger, or takes longer, than it may."""
        left, until = self._max_bytes, asyncio.get_running_loop().time() + BODY_SECONDS

        async def receive_bounded() -> Message:
            nonlocal left, until
            try:
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, f"the body did not come within {BODY_SECONDS:g} s") from None
            left -= len(message.get("body", b""))
            if left < 0:
                raise HTTPException(413, self._too_large())
            if not message.get("more_body"):
                until = None  # from now on it is awaited that the client goes
            return message

        return receive_bounded

    def _too_large(self) -> str:
        return f"the body is above the limit of {self._max_bytes} bytes"
