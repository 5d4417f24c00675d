"""The gateway's HTTP pages: whether it lives, whether it can serve a turn, and its metrics."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable

import uvicorn
from fastapi import FastAPI, Request, Response
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder

from services.registry import SERVICES
from services.telemetry.metrics import GATEWAY_MISSING

PARTS = (*SERVICES, "redis", "stopping")  # what may keep a gateway from serving a turn


def build(missing: Callable[[], Awaitable[list[str]]]) -> FastAPI:
    """`missing`: names what keeps the gateway from serving a turn."""
    app = FastAPI(title="Parley gateway", docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/healthz")
    async def healthz() -> dict:
        """The process lives."""
        return {"status": "ok"}

    @app.get("/readyz")
    async def readyz(response: Response) -> dict:
        """The Redis of the sessions and all four services answer; 503 with what is missing otherwise."""
        absent = await missing()
        response.status_code = 503 if absent else 200
        return {"status": "not ready" if absent else "ready", "missing": absent}

    @app.get("/metrics")
    async def metrics(request: Request) -> Response:
        """What is missing is asked for now: it is as true as the other figures."""
        absent = await missing()
        for part in PARTS:
            GATEWAY_MISSING.labels(part).set(part in absent)
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(REGISTRY), media_type=content_type)

    return app


class WebServer(uvicorn.Server):
    """Runs in the gateway's event loop and leaves its signals alone."""

    def __init__(self, app: FastAPI):
        # Without a bound, a request that hangs would keep a stopping gateway for ever.
        config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=5)
        super().__init__(config)

    @contextlib.contextmanager
    def capture_signals(self):
        yield
