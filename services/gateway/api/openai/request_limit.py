"""How many HTTP requests are answered at once, and that conversations in real time come first."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from services.gateway.access.admission import Admission
from services.gateway.api.guards.refusal import refuse
from services.rpc.errors import ServiceError
from services.telemetry import metrics

RETRY_SECONDS = 1.0
COMPUTE = ("/v1/chat/", "/v1/audio/")  # paths of what takes the services' time


class RequestLimit:
    """ASGI middleware, of what is under `/v1`: who is refused gets 429, before the body is read."""

    def __init__(self, app: ASGIApp, limit: int, admission: Admission):
        """`limit`: requests at once, each from its first byte to the last of its answer."""
        self._app, self._limit, self._admission = app, limit, admission
        self._open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
            await self._app(scope, receive, send)
            return
        try:
            self._check(scope["path"])
        except ServiceError as error:
            await refuse(scope, receive, send, error)
            return
        self._open += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._open -= 1

    def _check(self, path: str) -> None:
        if self._open >= self._limit:
            metrics.REFUSED.labels("gateway", "max_requests").inc()
            raise ServiceError.at_capacity("requests", self._limit, RETRY_SECONDS)
        if path.startswith(COMPUTE):
            self._admission.check_pace()
