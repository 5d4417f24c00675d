"""Answers a request that a guard refuses, before the app has seen it."""

from __future__ import annotations

from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from services.gateway.api.openai.errors import error_of, response_of


async def refuse(scope: Scope, receive: Receive, send: Send, error: Exception) -> None:
    """In OpenAI's form; of a WebSocket it is the answer to its handshake."""
    response = response_of(error_of(error))
    if scope["type"] == "websocket":
        await WebSocket(scope, receive, send).send_denial_response(response)
    else:
        await response(scope, receive, send)
