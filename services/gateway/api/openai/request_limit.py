"""How many HTTP requests are answered at once, and that conversations in real time come first."""

from __future__ import annotations

import grpc
from starlette.types import ASGIApp, Receive, Scope, Send

from services.gateway.api.backend import Backend
from services.gateway.api.guards.refusal import refuse
from services.rpc.errors import ServiceError
from services.telemetry import metrics

RETRY_SECONDS = 1.0
COMPUTE = ("/v1/chat/", "/v1/audio/")  # paths of what takes the services' time


class RequestLimit:
    """ASGI middleware, of what is under `/v1`: who is refused learns it before the body is read."""

    def __init__(self, app: ASGIApp, backend: Backend):
        self._app, self._backend = app, backend
        self._limit = backend.settings.api.max_requests  # each from its first byte to the last of its answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
            await self._app(scope, receive, send)
            return
        try:
            self._check(scope["path"])
        except ServiceError as error:
            await refuse(scope, receive, send, error)
            return
        self._backend.requests += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._backend.requests -= 1

    def _check(self, path: str) -> None:
        if self._backend.stopping:
            message = "this gateway is stopping; send the request again"
            raise ServiceError(grpc.StatusCode.UNAVAILABLE, message, RETRY_SECONDS)
        if self._backend.requests >= self._limit:
            metrics.REFUSED.labels("gateway", "max_requests").inc()
            raise ServiceError.at_capacity("requests", self._limit, RETRY_SECONDS)
        if path.startswith(COMPUTE):
            self._backend.admission.check_load()
