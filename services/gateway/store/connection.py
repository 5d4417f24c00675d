"""Clients of Redis, and what callers are told while it is out of reach."""

from __future__ import annotations

import asyncio
import functools
import itertools
import time

import grpc
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from services.gateway.settings import StoreSettings
from services.rpc.errors import ServiceError
from services.telemetry import logs, metrics

log = logs.get_logger(__name__)

MAX_CONNECTIONS = 100  # of one client
RETRY_SECONDS = 0.05  # between two attempts
REDIS_ERRORS = (RedisError, OSError, TimeoutError)


class RetryFor(Retry):
    """Tries a call again for `seconds`, at least once: a Redis that is started again is back within a second or two.

    redis-py nests two of these, the connect within the call. Both begin with the call, so that they end together.
    """

    def __init__(self, seconds: float):
        super().__init__(NoBackoff(), 1)
        self._seconds = seconds

    async def call_with_retry(self, do, fail, is_retryable=None, with_failure_count=False):
        until = time.monotonic() + self._seconds
        for failures in itertools.count(1):
            try:
                return await do()
            except self._supported_errors as error:
                if is_retryable and not is_retryable(error):
                    raise
                await (fail(error, failures) if with_failure_count else fail(error))
                if failures > 1 and time.monotonic() >= until:
                    raise
            await asyncio.sleep(RETRY_SECONDS)


def connect(url: str, settings: StoreSettings, recovery_seconds: float = 0.0) -> Redis:
    """Calls beyond `MAX_CONNECTIONS` at once wait for a connection, as long as a call may take."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=MAX_CONNECTIONS,
        timeout=settings.timeout_seconds,
        socket_timeout=settings.timeout_seconds,
        socket_connect_timeout=settings.timeout_seconds,
        health_check_interval=15,
        retry=RetryFor(recovery_seconds),
        retry_on_error=[RedisConnectionError, RedisTimeoutError],
    )
    return Redis.from_pool(pool)


def guarded(operation):
    """Turns errors of Redis into `ServiceError` UNAVAILABLE."""

    @functools.wraps(operation)
    async def guarded_operation(self, *args, **kwargs):
        task = asyncio.current_task()
        cancels = task.cancelling()
        try:
            result = await operation(self, *args, **kwargs)
        except REDIS_ERRORS as error:
            raise _unavailable(operation.__qualname__, error) from error
        if task.cancelling() > cancels:  # redis-py swallows a cancel that comes together with the reply
            raise asyncio.CancelledError
        return result

    return guarded_operation


def tolerant(default):
    """For a cache: while Redis is out of reach the operation returns `default`, and is logged and counted."""

    def decorate(operation):
        reached = guarded(operation)

        @functools.wraps(operation)
        async def tolerant_operation(self, *args, **kwargs):
            try:
                return await reached(self, *args, **kwargs)
            except ServiceError:
                return default

        return tolerant_operation

    return decorate


def _unavailable(operation: str, error: Exception) -> ServiceError:
    metrics.STORE_ERRORS.labels(operation).inc()
    log.warning("session store failed", operation=operation, error=str(error))
    problem = "is out of memory" if isinstance(error, OutOfMemoryError) else "cannot be reached"
    message = f"the session store (Redis) {problem}; what was said so far is safe, try again shortly"
    return ServiceError(grpc.StatusCode.UNAVAILABLE, message, retry_after=1.0)
