"""What the services run, as they described it last."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from protos.parley.v1.model_info_pb2 import ModelInfo
from services.registry import SERVICES


class Descriptions:
    """`ask(service)` is asked again when an answer is older than `max_age` seconds, or was forgotten.

    A service that cannot be reached is taken to run what it ran before.
    """

    def __init__(self, ask: Callable[[str], Awaitable[ModelInfo]], max_age: float):
        self._ask, self._max_age = ask, max_age
        self._known: dict[str, ModelInfo] = {}
        self._asked: dict[str, float] = {}  # `time.monotonic()`
        self._asking = {service: asyncio.Lock() for service in SERVICES}

    async def get(self, service: str) -> ModelInfo | None:
        """None where the service has never been reached."""
        async with self._asking[service]:
            age = time.monotonic() - self._asked.get(service, float("-inf"))
            if age > self._max_age or service not in self._known:
                try:
                    self._known[service] = await self._ask(service)
                except Exception:  # whatever is wrong with it now, the caller's own call will say
                    if service not in self._known:
                        return None
                self._asked[service] = time.monotonic()
            return self._known[service]

    def expire(self, service: str) -> None:
        """The service may come back with other weights."""
        self._asked.pop(service, None)
