"""How large the body of an HTTP request may be, its JSON, and the bodies of all requests that are answered.

Starlette's own limit answers in plain text.
"""

from __future__ import annotations

import math
from typing import Any

from fastapi.exceptions import StarletteHTTPException

from services.gateway.api.openai.errors import ApiError, error_of, response_of
from services.gateway.api.openai.json_limit import MAX_VALUES, MESSAGE, count_values
from services.gateway.media.memory_budget import Holder, MemoryBudget
from services.rpc.errors import ServiceError


class BodyLimit:
    """ASGI middleware. What states a larger length is refused unread; what turns out to be larger, where it does."""

    def __init__(self, app: Any, max_bytes: int, memory: MemoryBudget):
        self._app, self._max_bytes, self._memory = app, max_bytes, memory

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

        holder = self._memory.holder(lambda: read)

        async def receive_within_limit() -> dict:
            nonlocal read, values
            message = await receive()
            body = message.get("body", b"")
            _hold(holder, len(body))
            read += len(body)
            values += 0 if is_form else count_values(body)
            if read > self._max_bytes or values > MAX_VALUES:
                told = f"is {self._message}" if read > self._max_bytes else MESSAGE
                raise StarletteHTTPException(413, f"the body {told}")
            return message

        try:
            await self._app(scope, receive_within_limit, send)
        finally:
            holder.close()

    @property
    def _message(self) -> str:
        return f"above the limit of {self._max_bytes} bytes"


def _hold(holder: Holder, size: int) -> None:
    """Raises what also a parser of bodies lets through."""
    try:
        holder.check(size)
    except ServiceError as error:
        told = error_of(error)
        raise StarletteHTTPException(told.status, told.message, _headers_of(error)) from None


def _headers_of(error: ServiceError) -> dict[str, str]:
    return {"retry-after": str(math.ceil(error.retry_after))} if error.retry_after else {}


def _stated_length(scope: dict) -> int:
    """0 where the request states none."""
    stated = _header(scope, b"content-length")
    return int(stated) if stated.isdigit() else 0


def _header(scope: dict, name: bytes) -> bytes:
    """Empty where there is none."""
    return dict(scope["headers"]).get(name, b"")
