"""ASGI middleware around every request: its origin, its key, how its body comes; and headers that protect the page."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from services.gateway.access.origins import Origins
from services.gateway.api.backend import Backend
from services.gateway.api.guards.body_guard import BodyGuard
from services.gateway.api.guards.key_guard import KeyGuard
from services.gateway.api.guards.origin_guard import OriginGuard
from services.gateway.api.guards.security_headers import SecurityHeaders

EXPOSED_HEADERS = ["*", "x-request-id", "retry-after", "retry-after-ms"]


def install(app: FastAPI, backend: Backend) -> None:
    """The last one added is the outermost."""
    origins = Origins(backend.settings.access, backend.settings.server)
    app.add_middleware(BodyGuard)
    app.add_middleware(KeyGuard, access=backend.access)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=origins.allowed,
        allow_methods=["GET", "POST", "DELETE"],
        allow_headers=["*"],
        expose_headers=EXPOSED_HEADERS,
    )
    app.add_middleware(OriginGuard, origins=origins)
    app.add_middleware(SecurityHeaders)
