"""What the services say of their load: the largest real-time factor and the longest wait of the last seconds."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from protos.parley.v1.model_info_pb2 import Load, ModelInfo
from services.registry import SERVICES
from services.rpc.errors import ServiceError

ANSWER_SECONDS = 1.0  # that a service has to say it
FEW_SLOTS = 16  # of the LLM core, while it has never said how many it has


class ServiceLoad:
    """Of several replicas of a service, that which answered last; of one that does not answer, what it said last."""

    def __init__(self, describe: Callable[[str], Awaitable[ModelInfo]]):
        self._describe = describe
        self._loads: dict[str, Load] = {}
        self.slots = FEW_SLOTS

    async def ask(self) -> None:
        """To be called about every second."""
        await asyncio.gather(*(self._ask(service) for service in SERVICES))

    async def _ask(self, service: str) -> None:
        with contextlib.suppress(ServiceError, TimeoutError):
            async with asyncio.timeout(ANSWER_SECONDS):
                info = await self._describe(service)
            self._loads[service] = info.load
            self.slots = info.slots or self.slots

    def forget(self) -> None:
        self._loads.clear()

    def slowest(self) -> tuple[str, float]:
        """(service, seconds that it takes for each second of speech); 0 where nothing is known."""
        return self._largest("real_time_factor")

    def fullest(self) -> tuple[str, float]:
        """(service, seconds that work waits for it); 0 where nothing is known."""
        return self._largest("queue_seconds")

    def _largest(self, figure: str) -> tuple[str, float]:
        found = ((service, getattr(load, figure)) for service, load in self._loads.items())
        return max(found, key=lambda each: each[1], default=("", 0.0))
