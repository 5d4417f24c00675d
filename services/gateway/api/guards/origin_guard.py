"""Refuses requests and WebSockets of web pages that may not use this gateway."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from services.gateway.access.origins import Origins
from services.gateway.api.guards.refusal import refuse
from services.rpc.errors import ServiceError


class OriginGuard:
    def __init__(self, app: ASGIApp, origins: Origins):
        self._app, self._origins = app, origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        try:
            self._origins.check(headers.get("origin", ""), headers.get("host", ""))
        except ServiceError as error:
            await refuse(scope, receive, send, error)
        else:
            await self._app(scope, receive, send)
