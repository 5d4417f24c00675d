"""Asks for the key of each HTTP request to the OpenAI API before its body is read.

The route finds who calls as `request.state.caller`. A WebSocket's key is read by its route: `realtime/credentials.py`.
"""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.gateway.access.access import Access, Limits
from services.gateway.access.keys import bearer
from services.gateway.api.guards.refusal import refuse
from services.rpc.errors import ServiceError


class KeyGuard:
    def __init__(self, app: ASGIApp, access: Access):
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
            await self._app(scope, receive, send)
            return
        try:
            key = bearer(Headers(scope=scope).get("authorization", ""))
            caller = await self._access.full_caller(key)
            limits = await self._access.request(caller)
        except ServiceError as error:
            await refuse(scope, receive, send, error)
            return
        scope.setdefault("state", {})["caller"] = caller
        await self._app(scope, receive, send if limits is None else _with_headers(send, limits))


def _with_headers(send: Send, limits: Limits) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(headers_of(limits))
        await send(message)

    return send_with_headers


def headers_of(limits: Limits) -> dict[str, str]:
    """The rate-limit headers of OpenAI."""
    return {
        "x-ratelimit-limit-requests": str(limits.limit),
        "x-ratelimit-remaining-requests": str(limits.remaining),
        "x-ratelimit-reset-requests": f"{limits.reset_seconds:.3f}s",
    }
