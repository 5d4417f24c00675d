"""The body of an HTTP request comes in time, and as it is: what is compressed may become a thousand times larger."""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.gateway.api.guards.refusal import refuse
from services.gateway.api.openai.errors import ApiError

BODY_SECONDS = 60.0  # that a client may take to send its body


class BodyGuard:
    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        encoding = Headers(scope=scope).get("content-encoding", "identity")
        if encoding.lower() == "identity":
            await self._app(scope, _in_time(receive), send)
            return
        message = f"a body with content-encoding {encoding[:50]!r} is not accepted; send it as it is"
        await refuse(scope, receive, send, ApiError(message, "unsupported_content_encoding", status=415))


def _in_time(receive: Receive) -> Receive:
    """`receive` that raises once the body takes longer than it may."""
    until = asyncio.get_running_loop().time() + BODY_SECONDS

    async def receive_in_time() -> Message:
        nonlocal until
        try:
            async with asyncio.timeout_at(until):
                message = await receive()
        except TimeoutError:
            raise HTTPException(408, f"the body did not come within {BODY_SECONDS:g} s") from None
        if not message.get("more_body"):
            until = None  # from now on it is awaited that the client goes
        return message

    return receive_in_time
