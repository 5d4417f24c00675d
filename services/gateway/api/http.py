"""The gateway's HTTP server: health, the OpenAI API and the page, each a router of its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from services.gateway.api import guards, health
from services.gateway.api.backend import Backend
from services.gateway.api.openai import errors, realtime, rest
from services.gateway.api.openai.body_limit import BodyLimit
from services.gateway.api.openai.realtime import client_secrets
from services.gateway.api.openai.request_limit import RequestLimit
from services.gateway.api.openai.response_headers import ResponseHeaders
from services.gateway.settings import ServerSettings
from services.gateway.web import page
from services.telemetry import logs

log = logs.get_logger(__name__)

MAX_UNSENT_BYTES = 16 << 10  # of one connection, here and in the kernel: 0.25 s of audio in base64 each
MAX_FRAME_BYTES = 24 << 20  # of a WebSocket message: 15 MiB of audio in base64, and room


def build(backend: Backend, missing: Callable[[], Awaitable[list[str]]]) -> FastAPI:
    """`missing`: names what keeps the gateway from serving a turn."""
    app = FastAPI(
        title="Parley", docs_url=None, redoc_url=None, openapi_url="/v1/openapi.json", responses=errors.RESPONSES
    )
    errors.install(app)
    app.add_middleware(BodyLimit, max_bytes=backend.settings.api.max_body_bytes, memory=backend.memory)
    app.add_middleware(RequestLimit, backend=backend)
    guards.install(app, backend)  # around it: what a guard refuses takes no place
    app.add_middleware(ResponseHeaders)
    app.include_router(health.router(missing))
    app.include_router(client_secrets.router(backend))
    app.include_router(rest.router(backend))
    app.include_router(realtime.router(backend))
    app.include_router(page.router())
    return app


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """Holds little that its client does not read: what waits before it is dropped when its turn is cancelled."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=MAX_UNSENT_BYTES)


class WebServer(uvicorn.Server):
    """Runs in the gateway's event loop and leaves its signals alone."""

    def __init__(self, app: FastAPI, settings: ServerSettings):
        config = uvicorn.Config(
            app,
            log_config=None,
            log_level="warning",  # below it are headers with keys, URLs with session ids, and every message
            access_log=False,
            server_header=False,
            lifespan="off",
            http="h11",  # it bounds the head of a request to 64 KiB, which httptools lets grow without end
            ssl_certfile=settings.tls_certificate or None,
            ssl_keyfile=settings.tls_key or None,
            ws=WebSocketProtocol,
            ws_max_size=MAX_FRAME_BYTES,
            ws_per_message_deflate=False,  # audio does not become smaller, and an answer would wait
            timeout_graceful_shutdown=5,  # else a request that hangs would keep a stopping gateway for ever
        )
        super().__init__(config)

    @contextlib.contextmanager
    def capture_signals(self):
        yield
