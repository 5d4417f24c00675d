"""What every response under `/v1` carries: the request's id, and how much the caller has left."""

from __future__ import annotations

import secrets
from typing import Any

from services.gateway.access.access import Limits


class ResponseHeaders:
    """ASGI middleware. `state.limits` of a request, where it is set, becomes the rate-limit headers."""

    def __init__(self, app: Any):
        self._app = app

    async def __call__(self, scope: dict, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/v1"):
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["request_id"] = f"req_{secrets.token_hex(16)}"

        async def send_with_headers(message: dict) -> None:
            if message["type"] == "http.response.start":
                named = {"x-request-id": state["request_id"]} | rate_limits(state.get("limits"))
                added = [(name.encode(), value.encode()) for name, value in named.items()]
                message = {**message, "headers": [*message.get("headers", ()), *added]}
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
