"""Asks for the key of each HTTP request to the OpenAI API before its body is read.

The route finds who calls as `request.state.caller`, and what is left of its requests as `request.state.limits`, from
which `openai/response_headers.py` makes the rate-limit headers. A WebSocket's route reads its key:
`realtime/credentials.py`.
"""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from services.gateway.access.access import Access
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
        scope.setdefault("state", {}).update(caller=caller, limits=limits)
        await self._app(scope, receive, send)
