"""What the services run, as they described it last."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from protos.parley.v1.model_info_pb2 import ModelInfo
from services.telemetry import logs

log = logs.get_logger(__name__)


class Descriptions:
    """A description older than `max_age` seconds, or expired, is asked for again. If that fails the old one serves."""

    def __init__(self, ask: Callable[[str], Awaitable[ModelInfo]], max_age: float):
        self._ask, self._max_age = ask, max_age
        self._known: dict[str, ModelInfo] = {}
        self._asked: dict[str, float] = {}  # `time.monotonic()`
        self._asking: dict[str, asyncio.Task[ModelInfo]] = {}

    async def get(self, service: str) -> ModelInfo:
        """Raises what `ask` raises, where the service has never answered."""
        age = time.monotonic() - self._asked.get(service, float("-inf"))
        if age <= self._max_age and service in self._known:
            return self._known[service]
        if service not in self._asking:
            self._asking[service] = asyncio.create_task(self._refresh(service))
        return await asyncio.shield(self._asking[service])  # one question for all who wait

    async def _refresh(self, service: str) -> ModelInfo:
        try:
            self._known[service] = await self._ask(service)
        except Exception as error:
            log.warning("a service does not say what it runs", upstream=service, error=str(error)[:200])
            if service not in self._known:
                raise
        finally:
            del self._asking[service]
        self._asked[service] = time.monotonic()
        return self._known[service]

    def expire(self, service: str) -> None:
        """The service may come back with other weights."""
        self._asked.pop(service, None)

    async def close(self) -> None:
        for asking in list(self._asking.values()):
            asking.cancel()
        if self._asking:
            await asyncio.wait(self._asking.values())
