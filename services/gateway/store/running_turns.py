"""Turns that have not ended, or ended a moment ago, in Redis: what another gateway needs to go on with them.

They are written together with the event log (`EventLog.append`), by the connection whose log it is.
"""

from __future__ import annotations

from collections.abc import Mapping

from redis.asyncio import Redis

from services.gateway.store.connection import guarded
from services.gateway.store.keys import key


class RunningTurnStore:
    def __init__(self, redis: Redis):
        self._redis = redis

    @guarded
    async def fields(self, session_id: str) -> Mapping[str, bytes]:
        """`told:<turn id>` and `asked:<turn id>` → what is kept there."""
        found = await self._redis.hgetall(key(session_id, "running"))
        return {name.decode(): value for name, value in found.items()}
