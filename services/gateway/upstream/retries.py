"""A call that broke is tried again on another connection, for a bounded time."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import grpc

from services.gateway.upstream.calls import ConnectionLostError
from services.registry import SERVICES
from services.rpc.errors import ServiceError
from services.telemetry import logs, metrics, tracing

log = logs.get_logger(__name__)

T = TypeVar("T")

for name in SERVICES:
    metrics.RECONNECTS.labels(name)  # a series that begins at 0 shows its first increase

_PAUSES = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8)  # seconds before each new attempt; the last one repeats


async def until_done(service: str, attempt: Callable[[], Awaitable[T]], recovery_seconds: float) -> T:
    """Runs `attempt` until it ends without `ConnectionLostError`, for at most `recovery_seconds` of trying.

    Raises `ServiceError` UNAVAILABLE once that has passed, and whatever else `attempt` raises at once.
    """
    lost_since = None
    for number in itertools.count():
        started = time.monotonic()
        try:
            return await attempt()
        except ConnectionLostError as error:
            now = time.monotonic()
            if lost_since is None or now - started > recovery_seconds:
                lost_since = now  # the call had worked for long: this is a new loss
            metrics.RECONNECTS.labels(service).inc()
            tracing.event("connection lost", upstream=service, attempt=number + 1)
            if now - lost_since >= recovery_seconds:
                message = f"the {service} service cannot be reached; tried again {number} times"
                raise ServiceError(grpc.StatusCode.UNAVAILABLE, message, retry_after=2.0) from error
            emit = log.warning if number == 0 else log.debug
            emit("connection lost, trying again", upstream=service, attempt=number + 1, error=str(error))
        await asyncio.sleep(_PAUSES[min(number, len(_PAUSES) - 1)])
    raise AssertionError("unreachable")
