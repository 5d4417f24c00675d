"""What every response under `/v1` carries: the request's id, and how much the caller's key has left."""

from __future__ import annotations

import secrets

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.gateway.access.access import Limits


class ResponseHeaders:
    """ASGI middleware; the outermost, so that refusals have an id too. `guards.key_guard` sets `state.limits`."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/v1"):
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["request_id"] = f"req_{secrets.token_hex(16)}"

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = {"x-request-id": state["request_id"], **rate_limits(state.get("limits"))}
                MutableHeaders(scope=message).update(headers)
            await send(message)

        await self._app(scope, receive, send_with_headers)


def rate_limits(limits: Limits | None) -> dict[str, str]:
    """Of requests; tokens are not limited here."""
    if limits is None:
        return {}
    return {
        "x-ratelimit-limit-requests": str(limits.limit),
        "x-ratelimit-remaining-requests": str(limits.remaining),
        "x-ratelimit-reset-requests": duration(limits.reset_seconds),
    }


def duration(seconds: float) -> str:
    """As OpenAI writes it: `120ms`, `1s`, `6m0s`, `1h0m0s`."""
    if seconds < 1:
        return f"{round(1000 * seconds)}ms"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + f"{rest}s"
