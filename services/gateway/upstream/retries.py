"""A call that broke, or that a full service refused, is tried again for a bounded time, on another connection."""

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
_FULL_PAUSE = 0.1  # seconds, at least, before a full service is asked again


async def until_done(service: str, attempt: Callable[[], Awaitable[T]], recovery_seconds: float) -> T:
    """Runs `attempt` until it ends without `ConnectionLostError`, for at most `recovery_seconds` of trying.

    A service that is full, and says when to come again, is waited for as long: who has been let in is served. Raises
    `ServiceError` UNAVAILABLE or what the full service said once that has passed, and whatever else `attempt` raises
    at once.
    """
    failing_since = None
    for number in itertools.count():
        started, pause = time.monotonic(), _PAUSES[min(number, len(_PAUSES) - 1)]
        try:
            return await attempt()
        except ConnectionLostError as error:
            failure: Exception = error
            metrics.RECONNECTS.labels(service).inc()
        except ServiceError as error:
            if not _is_full(error):
                raise
            failure, pause = error, max(pause, _FULL_PAUSE)
        now = time.monotonic()
        if failing_since is None or now - started > recovery_seconds:
            failing_since = now  # the call had worked for long: this is new
        if now - failing_since >= recovery_seconds:
            raise _given_up(service, failure, number) from failure
        _note(service, failure, number)
        await asyncio.sleep(pause)
    raise AssertionError("unreachable")


def _is_full(error: ServiceError) -> bool:
    """For now: what will never fit says no time."""
    return error.code == grpc.StatusCode.RESOURCE_EXHAUSTED and error.retry_after > 0


def _given_up(service: str, failure: Exception, number: int) -> ServiceError:
    if isinstance(failure, ServiceError):
        return ServiceError(failure.code, failure.message, failure.retry_after)
    message = f"the {service} service cannot be reached; tried again {number} times"
    return ServiceError(grpc.StatusCode.UNAVAILABLE, message, retry_after=2.0)


def _note(service: str, failure: Exception, number: int) -> None:
    what = "service full" if isinstance(failure, ServiceError) else "connection lost"
    tracing.event(what, upstream=service, attempt=number + 1)
    emit = log.warning if number == 0 else log.debug
    emit(f"{what}, trying again", upstream=service, attempt=number + 1, error=str(failure))
