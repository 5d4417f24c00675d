"""How large the body of an HTTP request may be, and its JSON. Starlette's own limit answers in plain text."""

from __future__ import annotations

from typing import Any

from fastapi.exceptions import StarletteHTTPException

from services.gateway.api.openai.errors import ApiError, response_of
from services.gateway.api.openai.json_limit import MAX_VALUES, MESSAGE, count_values


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
        read = values = 0
        is_form = _header(scope, b"content-type").lower().startswith(b"multipart/")  # Starlette bounds its fields

        async def receive_within_limit() -> dict:
            nonlocal read, values
            message = await receive()
            body = message.get("body", b"")
            read += len(body)
            values += 0 if is_form else count_values(body)
            if read > self._max_bytes or values > MAX_VALUES:
                told = f"is {self._message}" if read > self._max_bytes else MESSAGE
                raise StarletteHTTPException(413, f"the body {told}")
            return message

        await self._app(scope, receive_within_limit, send)

    @property
    def _message(self) -> str:
        return f"above the limit of {self._max_bytes} bytes"


def _stated_length(scope: dict) -> int:
    """0 where the request states none."""
    stated = _header(scope, b"content-length")
    return int(stated) if stated.isdigit() else 0


def _header(scope: dict, name: bytes) -> bytes:
    """Empty where there is none."""
    return dict(scope["headers"]).get(name, b"")
