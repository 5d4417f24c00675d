"""What each key has used, counted in Redis over all gateways: requests, open sessions, audio.

- `requests:<id>`          string: when the last request that was let in will have been made up for (ms)
- `sessions:<id>`          sorted set: session's token → when its lease ends (ms); a dead gateway renews none
- `secrets:<id>`           the same of client secrets that have not expired
- `audio:<id>:<day>`       string: ms of audio of a day (UTC), as days since 1970
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from redis.asyncio import Redis

from services.gateway.access.key_store import access_key
from services.gateway.store.connection import guarded
from services.gateway.store.keys import milliseconds

MINUTE_MS = 60_000
DAY_SECONDS = 86_400

_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""
# The generic cell rate algorithm: a burst of a whole minute's requests, then one each time that one is due.
# requests; most a minute → whether it is let in, ms until all are free again, ms until the next is let in
_REQUEST = f"""{_NOW}
local limit, minute = tonumber(ARGV[1]), {MINUTE_MS}
local busy_until = math.max(now, tonumber(redis.call('GET', KEYS[1]) or 0))
local after = busy_until + minute / limit
if after - now > minute then return {{0, math.ceil(busy_until - now), math.ceil(after - now - minute)}} end
redis.call('SET', KEYS[1], after, 'PX', math.ceil(after - now))
return {{1, math.ceil(after - now), 0}}
"""
# leases; token, life (ms), most (0: any number) → -1, or ms until the first of the others ends
_TAKE = f"""{_NOW}
local life, most = tonumber(ARGV[2]), tonumber(ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if most > 0 and not redis.call('ZSCORE', KEYS[1], ARGV[1]) and redis.call('ZCARD', KEYS[1]) >= most then
  return tonumber(redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]) - now
end
redis.call('ZADD', KEYS[1], now + life, ARGV[1])
local last = tonumber(redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2])
redis.call('PEXPIREAT', KEYS[1], math.ceil(last))
return -1
"""


@dataclass(frozen=True)
class RequestCount:
    admitted: bool
    reset_seconds: float  # until all are free again
    retry_seconds: float  # until the next is let in


class Usage:
    def __init__(self, redis: Redis):
        self._redis = redis
        self._request = redis.register_script(_REQUEST)
        self._take = redis.register_script(_TAKE)

    @guarded
    async def request(self, key_id: str, most: int) -> RequestCount:
        """Counts a request, of `most` a minute."""
        admitted, reset, retry = await self._request([access_key(f"requests:{key_id}")], [most])
        return RequestCount(bool(admitted), reset / 1000, retry / 1000)

    @guarded
    async def take(self, kind: str, key_id: str, token: str, seconds: float, most: int = 0) -> float | None:
        """A place among the sessions or secrets of a key, for some time; the same again prolongs it.

        → None, or, where `most` are taken, the seconds until the first of them ends if it is not prolonged.
        """
        left = await self._take([access_key(f"{kind}:{key_id}")], [token, milliseconds(seconds), most])
        return None if left < 0 else left / 1000

    @guarded
    async def release(self, kind: str, key_id: str, token: str) -> None:
        await self._redis.zrem(access_key(f"{kind}:{key_id}"), token)

    @guarded
    async def open_sessions(self, key_id: str) -> int:
        return await self._redis.zcount(access_key(f"sessions:{key_id}"), milliseconds(time.time()), "+inf")

    @guarded
    async def audio_today(self, key_id: str) -> float:
        """Seconds, in and out."""
        return int(await self._redis.get(_audio_today(key_id)) or 0) / 1000

    @guarded
    async def add_audio(self, key_id: str, seconds: float) -> float:
        """→ the seconds of audio of this day."""
        name = _audio_today(key_id)
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.incrby(name, milliseconds(seconds))
            pipe.expire(name, 2 * DAY_SECONDS)
            used, _ = await pipe.execute()
        return used / 1000


def _audio_today(key_id: str) -> str:
    return access_key(f"audio:{key_id}:{int(time.time() // DAY_SECONDS)}")


def seconds_to_midnight() -> float:
    """UTC."""
    return DAY_SECONDS - time.time() % DAY_SECONDS
