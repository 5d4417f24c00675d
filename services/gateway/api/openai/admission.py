"""How many HTTP requests are answered at once, from their first byte to the last of their answer."""

from __future__ import annotations

from typing import Any

from services.gateway.api.openai.errors import error_of, response_of
from services.rpc.errors import ServiceError
from services.telemetry import metrics

RETRY_SECONDS = 1.0


class Admission:
    """ASGI middleware, of what is under `/v1`. A request beyond the limit gets 429 before its body is read."""

    def __init__(self, app: Any, limit: int):
        self._app, self._limit = app, limit
        self._open = 0

    async def __call__(self, scope: dict, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/v1"):
            await self._app(scope, receive, send)
            return
        if self._open >= self._limit:
            metrics.REFUSED.labels("gateway", "max_requests").inc()
            refusal = ServiceError.at_capacity("requests", self._limit, RETRY_SECONDS)
            await response_of(error_of(refusal))(scope, receive, send)
            return
        self._open += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._open -= 1
