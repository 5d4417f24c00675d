"""The release pointer in Redis: read by every gateway, which reports its own state with the same call."""

from __future__ import annotations

import secrets

from redis.asyncio import Redis

from services.gateway.store.connection import guarded
from services.gateway.store.keys import milliseconds
from services.release_pointer import GATEWAY_KEY, POINTER_KEY, REPORT_SECONDS, GatewayReport, Pointer


class ReleaseStore:
    def __init__(self, redis: Redis):
        self._redis = redis
        self._key = GATEWAY_KEY + secrets.token_hex(8)  # of this gateway

    @guarded
    async def report(self, report: GatewayReport) -> Pointer | None:
        """Says what this gateway does, and returns where new questions go; None where nobody has said so."""
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.set(self._key, report.model_dump_json(), px=milliseconds(REPORT_SECONDS))
        pipeline.get(POINTER_KEY)
        _, pointer = await pipeline.execute()
        return None if pointer is None else Pointer.model_validate_json(pointer)

    @guarded
    async def begin(self, pointer: Pointer) -> None:
        """Writes the pointer where there is none."""
        await self._redis.set(POINTER_KEY, pointer.model_dump_json(), nx=True)

    @guarded
    async def leave(self) -> None:
        """This gateway ends."""
        await self._redis.delete(self._key)
