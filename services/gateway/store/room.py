"""Whether the sessions' Redis has room for one more session: those that it holds come first."""

from __future__ import annotations

import time

from redis.asyncio import Redis

from services.gateway.settings import StoreSettings
from services.rpc.errors import ServiceError
from services.telemetry import metrics

ASK_SECONDS = 1.0  # between two questions to Redis
SHARE = 0.9  # of what Redis may take at most: what is kept already grows
RETRY_SECONDS = 30.0


class Room:
    def __init__(self, redis: Redis, settings: StoreSettings):
        self._redis, self._most = redis, settings.max_redis_mb << 20
        self._full, self._asked_at = False, float("-inf")

    async def check(self) -> None:
        """Before a session is made. Raises RESOURCE_EXHAUSTED where there is no room, and errors of Redis."""
        now = time.monotonic()
        if now - self._asked_at > ASK_SECONDS:
            self._asked_at = now
            self._full = self._is_full(await self._redis.info("memory"))
        if self._full:
            metrics.REFUSED.labels("gateway", "max_redis_mb").inc()
            raise ServiceError.busy("the session store is full of other sessions", RETRY_SECONDS)

    def _is_full(self, memory: dict) -> bool:
        own = memory.get("maxmemory") or 0
        return memory["used_memory"] >= min(self._most, SHARE * own if own else self._most)
