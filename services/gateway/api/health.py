"""The gateway's HTTP pages: whether it lives, whether it can serve a turn, and its metrics."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Request, Response
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder

from services.registry import SERVICES
from services.telemetry.metrics import GATEWAY_MISSING

PARTS = (*SERVICES, "redis", "stopping")  # what may keep a gateway from serving a turn


def router(missing: Callable[[], Awaitable[list[str]]]) -> APIRouter:
    """`missing`: names what keeps the gateway from serving a turn."""
    pages = APIRouter(include_in_schema=False)

    @pages.get("/healthz")
    async def healthz() -> dict:
        """The process lives."""
        return {"status": "ok"}

    @pages.get("/readyz")
    async def readyz(response: Response) -> dict:
        """The Redis of the sessions and all four services answer; 503 with what is missing otherwise."""
        absent = await missing()
        response.status_code = 503 if absent else 200
        return {"status": "not ready" if absent else "ready", "missing": absent}

    @pages.get("/metrics")
    async def metrics(request: Request) -> Response:
        """What is missing is asked for now: it is as true as the other figures."""
        absent = await missing()
        for part in PARTS:
            GATEWAY_MISSING.labels(part).set(part in absent)
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(REGISTRY), media_type=content_type)

    return pages
