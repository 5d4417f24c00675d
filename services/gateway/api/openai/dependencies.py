"""Who calls: found out before anything of a request's body is read."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import Request
from fastapi.routing import APIRoute

from services.gateway.access.access import Access, Caller


def authorized(access: Access) -> type[APIRoute]:
    """For `APIRouter(route_class=…)`: the route's handler finds the caller in `request.state.caller`.

    FastAPI reads the body before it solves dependencies, which is too late for this.
    """

    class AuthorizedRoute(APIRoute):
        def get_route_handler(self) -> Callable:
            handler = super().get_route_handler()

            async def handle(request: Request):
                request.state.caller = await access.caller(key_of(request), request.headers.get("origin", ""))
                request.state.limits = await access.request(request.state.caller)
                return await handler(request)

            return handle

    return AuthorizedRoute


def caller_of(request: Request) -> Caller:
    return request.state.caller


def key_of(request: Request) -> str:
    """The key that the client sent; empty where it sent none."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""
