"""The lease of a turn: two gateways never answer in one session at once, and one that was cut off cannot write late.

A lease is renewed while its turn lasts. That of a dead gateway expires and is taken over. One that expired although its
gateway lives, and that nobody has had since, still counts as held.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator

import grpc
from redis.asyncio import Redis

from services.gateway.settings import StoreSettings
from services.gateway.store.connection import REDIS_ERRORS, guarded
from services.gateway.store.keys import keys, milliseconds
from services.gateway.store.protocols import Lease
from services.rpc.errors import ServiceError
from services.telemetry import metrics

IS_HELD = """
local function is_held(turn, last, token)
  local holder = redis.call('GET', turn)
  return holder == token or (not holder and redis.call('GET', last) == token)
end
"""
# All: keys turn, last; token. Times in ms.
# lease time, life of the session, 1 to take it from its holder → -1, or for how long the lease is still another's
_ACQUIRE = """
if ARGV[4] == '1' then redis.call('DEL', KEYS[1]) end
local taken = redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2])
if not taken and redis.call('GET', KEYS[1]) ~= ARGV[1] then return math.max(0, redis.call('PTTL', KEYS[1])) end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[3])
return -1
"""
# What a script answers whose lease is lost: 0 where another has it, or has had it since; -1 where nobody is known to
# have had it, so that the store has lost the session.
LOST = """
local function lost(turn, last)
  return redis.call('EXISTS', turn, last) == 0 and -1 or 0
end
"""
# lease time → 1, or as LOST says
_RENEW = f"""{IS_HELD}{LOST}
if not is_held(KEYS[1], KEYS[2], ARGV[1]) then return lost(KEYS[1], KEYS[2]) end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


def lease_keys(session_id: str) -> list[str]:
    return keys(session_id, "turn", "last")


class LeaseStore:
    def __init__(self, redis: Redis, settings: StoreSettings):
        self._seconds = settings.lease_seconds
        self._lease_ms = milliseconds(settings.lease_seconds)
        self._life_ms = milliseconds(settings.session_seconds)
        self._take = redis.register_script(_ACQUIRE)
        self._extend = redis.register_script(_RENEW)
        self._release = redis.register_script(_RELEASE)

    @contextlib.asynccontextmanager
    async def lease(self, session_id: str, take: bool = False) -> AsyncIterator[Lease]:
        """Holds the session for one turn.

        Raises ABORTED where a living gateway holds it; where its gateway has died, waits until that lease expires.
        `take`: does neither, and whoever holds it has lost it.
        """
        lease = Lease(session_id, secrets.token_hex(8), asyncio.Event())
        renewal = None
        try:
            await self._acquire(lease, take)
            renewal = asyncio.create_task(self._keep(lease))  # not earlier: what is not held yet would count as lost
            yield lease
        finally:
            if renewal is not None:
                await _ended(renewal)
            with contextlib.suppress(*REDIS_ERRORS):
                await self._release(keys=lease_keys(session_id), args=[lease.token])

    @guarded
    async def _acquire(self, lease: Lease, take: bool = False) -> None:
        args = [lease.token, self._lease_ms, self._life_ms, int(take)]
        left = None  # milliseconds of the holder's lease, when last seen
        while (now_left := await self._take(keys=lease_keys(lease.session_id), args=args)) >= 0:
            if left is not None and now_left > left:  # renewed meanwhile: its holder lives
                message = "another connection is answering a turn of this session; wait for it or cancel it there"
                raise ServiceError(grpc.StatusCode.ABORTED, message, retry_after=self._seconds / 3)
            left = now_left
            await asyncio.sleep(min(left / 1000 + 0.01, self._seconds / 10))

    async def _keep(self, lease: Lease) -> None:
        """Renews the lease until it is lost."""
        while not lease.lost.is_set():
            await asyncio.sleep(self._seconds / 3)
            try:
                if not await self._renew(lease):
                    lease.lost.set()
            except REDIS_ERRORS:  # nobody else can take it either; try again
                metrics.STORE_ERRORS.labels("LeaseStore.renew").inc()

    async def _renew(self, lease: Lease) -> bool:
        """False where another has the lease, or has had it since, or the store has forgotten it."""
        answer = await self._extend(keys=lease_keys(lease.session_id), args=[lease.token, self._lease_ms])
        lease.forgotten = answer == -1
        return answer == 1


async def _ended(renewal: asyncio.Task) -> None:
    """Cancels it until it has ended: a renewal that arrives behind the release takes the lease again, and the client of
    Redis may tell a cancellation as an error of its own, after which the next renewal would follow."""
    while not renewal.done():
        renewal.cancel()
        await asyncio.wait({renewal}, timeout=0.1)
