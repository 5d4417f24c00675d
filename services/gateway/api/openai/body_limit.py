"""How large the body of an HTTP request may be. Starlette's own limit answers in plain text."""

from __future__ import annotations

from typing import Any

from fastapi.exceptions import StarletteHTTPException

from services.gateway.api.openai.errors import ApiError, response_of


class BodyLimit:
    """ASGI middleware. What states a larger length is refused unread; what turns out to be larger, where it does."""

    def __init__(self, app: Any, max_bytes: int):
        self._app, self._max_bytes = app, max_bytes

    async def __call__(self, scope: dict, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if _stated_length(scope) > self._max_bytes:
            refusal = ApiError(f"the body is {self._message}", "too_large", status=413)
            await response_of(refusal)(scope, receive, send)
            return
        read = 0

        async def receive_within_limit() -> dict:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._max_bytes:
                raise StarletteHTTPException(413, f"the body is {self._message}")
            return message

        await self._app(scope, receive_within_limit, send)

    @property
    def _message(self) -> str:
        return f"above the limit of {self._max_bytes} bytes"


def _stated_length(scope: dict) -> int:
    """0 where the request states none."""
    stated = dict(scope["headers"]).get(b"content-length", b"0")
    return int(stated) if stated.isdigit() else 0
