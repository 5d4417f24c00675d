"""Embeddings in Redis within a budget of bytes that all gateways share; the least recently used go first.

Each lies under a key of its own. Their index has the time of their last use, their sizes, the sum of these, and their lengths,
all in one hash slot. A size is what Redis says that the key takes of its memory.
"""

from __future__ import annotations

from collections.abc import Iterable

from redis.asyncio import Redis
from redis.exceptions import ExecAbortError, OutOfMemoryError

from services.gateway.events.items import Ref
from services.gateway.settings import StoreSettings
from services.gateway.store.connection import guarded
from services.gateway.store.keys import milliseconds
from services.telemetry import logs, metrics

log = logs.get_logger(__name__)

_DATA = "parley:{embeddings}:data:"
_INDEX = [f"parley:{{embeddings}}:{name}" for name in ("uses", "sizes", "total", "lengths")]

# All: the index; prefix of the data keys, life of an entry (ms).
# PEXPIRE comes first: after a write that needs no memory, a script may go on in a Redis that is full.
# An index that has lost a part (a Redis may be set up to evict keys) is begun anew; what it listed expires.
_COMMON = """
local uses, sizes, total, lengths, prefix, life_ms = KEYS[1], KEYS[2], KEYS[3], KEYS[4], ARGV[1], ARGV[2]
local function prolong()
  for i = 1, 4 do redis.call('PEXPIRE', KEYS[i], life_ms) end
end
prolong()
if redis.call('EXISTS', uses, sizes, total, lengths) < 4 then redis.call('DEL', uses, sizes, total, lengths) end
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local function remove(id)
  redis.call('UNLINK', prefix .. id)
  redis.call('DECRBY', total, redis.call('HGET', sizes, id) or 0)
  redis.call('HDEL', sizes, id)
  redis.call('HDEL', lengths, id)
  redis.call('ZREM', uses, id)
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', uses, '-inf', now - life_ms * 1000)) do remove(id) end
"""
# budget (bytes), id and length of what has just been set → 1, or 0 where it alone is above the budget
_ADD = f"""{_COMMON}
local budget, id = tonumber(ARGV[3]), ARGV[4]
local size = redis.call('MEMORY', 'USAGE', prefix .. id)
redis.call('INCRBY', total, size - (redis.call('HGET', sizes, id) or 0))
redis.call('HSET', sizes, id, size)
redis.call('HSET', lengths, id, ARGV[5])
redis.call('ZADD', uses, now, id)
while tonumber(redis.call('GET', total)) > budget do remove(redis.call('ZRANGE', uses, 0, 0)[1]) end
prolong()
return redis.call('EXISTS', prefix .. id)
"""
# id…
_TOUCH = f"""{_COMMON}
for i = 3, #ARGV do
  local id = ARGV[i]
  if redis.call('ZSCORE', uses, id) and redis.call('PEXPIRE', prefix .. id, life_ms) == 1 then
    redis.call('ZADD', uses, now, id)
  else
    remove(id)
  end
end
prolong()
"""


class EmbeddingStore:
    def __init__(self, redis: Redis, settings: StoreSettings):
        self._redis = redis
        self._budget = settings.embeddings_mb << 20
        self._life_ms = milliseconds(settings.session_seconds)
        self._add = redis.register_script(_ADD)
        self._touch = redis.register_script(_TOUCH)

    @guarded
    async def put(self, ref: Ref, data: bytes) -> bool:
        """Keeps embeddings. False where they were not kept: above the budget, or Redis is out of memory."""
        if len(data) <= self._budget:
            try:
                if await self._set(ref, data):
                    return True
            except (OutOfMemoryError, ExecAbortError) as error:
                metrics.STORE_ERRORS.labels("EmbeddingStore.put").inc()
                log.warning("embeddings not kept: Redis is out of memory", bytes=len(data), error=str(error))
                return False
        log.warning("embeddings not kept: above the budget", bytes=len(data), budget=self._budget)
        return False

    async def _set(self, ref: Ref, data: bytes) -> bool:
        # a transaction, not one script: arguments of a script are copied into the memory of Lua
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.set(_DATA + _id(ref), data, px=self._life_ms)
            await self._add(_INDEX, [_DATA, self._life_ms, self._budget, _id(ref), ref.length], client=pipe)
            _, kept = await pipe.execute()
        return bool(kept)

    @guarded
    async def find(self, weights: str, content_hash: str) -> Ref | None:
        """The reference of kept embeddings. Prolongs their life; None where they are gone."""
        ref = Ref(weights=weights, hash=content_hash, length=0)
        async with self._redis.pipeline(transaction=True) as pipe:
            await self._touch(_INDEX, [_DATA, self._life_ms, _id(ref)], client=pipe)
            pipe.hget(_INDEX[3], _id(ref))
            _, length = await pipe.execute()
        return None if length is None else ref.model_copy(update={"length": int(length)})

    @guarded
    async def get(self, refs: Iterable[Ref]) -> dict[Ref, bytes]:
        """Those of `refs` that are still kept. Prolongs their life."""
        wanted = list(dict.fromkeys(refs))
        if not wanted:
            return {}
        await self._touch(_INDEX, [_DATA, self._life_ms, *map(_id, wanted)])
        # one at a time: what waits to be read takes memory of Redis
        found = {ref: await self._redis.get(_DATA + _id(ref)) for ref in wanted}
        return {ref: data for ref, data in found.items() if data is not None}


def _id(ref: Ref) -> str:
    return f"{ref.weights}:{ref.hash}"
