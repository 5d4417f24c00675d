"""Embeddings in Redis within a budget of bytes that all gateways share; the least recently used go first.

- Data lie in lists of pieces, so that no connection holds a large buffer. They are sent under a name of their own and
  get that of their content with the last piece.
- An index has the time of each entry's last use, its size, the sum of the sizes, and its length, all in one hash slot.
  Every piece counts from the moment it is there. A size is what Redis says that the key takes of its memory.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError

from services.gateway.events.items import Ref
from services.gateway.settings import StoreSettings
from services.gateway.store.connection import tolerant
from services.gateway.store.keys import milliseconds
from services.telemetry import logs, metrics

log = logs.get_logger(__name__)

PIECE = 1 << 20  # bytes

_DATA = "parley:{embeddings}:data:"
_INDEX = [f"parley:{{embeddings}}:{name}" for name in ("uses", "sizes", "total", "lengths")]

# All: the index; prefix of the data keys, life of an entry (ms).
# It begins with a write that needs no memory: after one, a script may go on in a Redis that is full.
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
# budget (bytes), name of the upload, position of the piece, the piece, number of embeddings,
# name that the data have from now on
# → 1, or 0 where there was no room. The piece is the first write: a full Redis refuses it.
_PUSH = f"""
local data, position = ARGV[1] .. ARGV[4], tonumber(ARGV[5])
local length = redis.call('LLEN', data)
if length == position then redis.call('RPUSH', data, ARGV[6]) elseif length ~= position + 1 then return 0 end
{_COMMON}
local budget, upload, id = tonumber(ARGV[3]), ARGV[4], ARGV[8]
if id ~= upload then
  redis.call('RENAME', data, prefix .. id)
  remove(upload)
end
redis.call('PEXPIRE', prefix .. id, life_ms)
local size = redis.call('MEMORY', 'USAGE', prefix .. id, 'SAMPLES', 0)
redis.call('INCRBY', total, size - (redis.call('HGET', sizes, id) or 0))
redis.call('HSET', sizes, id, size)
redis.call('HSET', lengths, id, ARGV[7])
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
# id
_REMOVE = f"{_COMMON} remove(ARGV[3]) prolong()"


class EmbeddingStore:
    """A cache: while its Redis is out of reach nothing is kept and nothing is found, and turns go on."""

    def __init__(self, redis: Redis, settings: StoreSettings):
        self._redis = redis
        self._budget = settings.embeddings_mb << 20
        self._life_ms = milliseconds(settings.session_seconds)
        self._push = redis.register_script(_PUSH)
        self._touch = redis.register_script(_TOUCH)
        self._remove = redis.register_script(_REMOVE)

    @tolerant(False)
    async def put(self, ref: Ref, data: bytes) -> bool:
        """Keeps embeddings. False where they were not kept: above the budget, or Redis is out of memory."""
        upload = f"upload:{secrets.token_hex(8)}"
        try:
            kept = len(data) <= self._budget and await self._send(upload, ref, data)
            reason = "no room in the budget"
        except OutOfMemoryError:
            await self._remove(_INDEX, [_DATA, self._life_ms, upload])
            metrics.STORE_ERRORS.labels("EmbeddingStore.put").inc()
            kept, reason = False, "Redis is out of memory"
        if not kept:
            log.warning("embeddings not kept", reason=reason, bytes=len(data), budget=self._budget)
        return kept

    async def _send(self, upload: str, ref: Ref, data: bytes) -> bool:
        for start in range(0, len(data), PIECE):
            name = _id(ref) if start + PIECE >= len(data) else upload
            piece = [upload, start // PIECE, data[start : start + PIECE], ref.length, name]
            if not await self._push(_INDEX, [_DATA, self._life_ms, self._budget, *piece]):
                return False
        return True

    @tolerant(None)
    async def find(self, weights: str, content_hash: str) -> Ref | None:
        """The reference of kept embeddings. Prolongs their life; None where they are gone."""
        ref = Ref(weights=weights, hash=content_hash, length=0)
        async with self._redis.pipeline(transaction=True) as pipe:
            await self._touch(_INDEX, [_DATA, self._life_ms, _id(ref)], client=pipe)
            pipe.hget(_INDEX[3], _id(ref))
            _, length = await pipe.execute()
        return None if length is None else ref.model_copy(update={"length": int(length)})

    @tolerant(MappingProxyType({}))
    async def get(self, refs: Iterable[Ref]) -> Mapping[Ref, bytes]:
        """Those of `refs` that are still kept. Prolongs their life."""
        wanted = list(dict.fromkeys(refs))
        if not wanted:
            return {}
        await self._touch(_INDEX, [_DATA, self._life_ms, *map(_id, wanted)])
        # one at a time: what waits to be read takes memory of Redis
        found = {ref: await self._redis.lrange(_DATA + _id(ref), 0, -1) for ref in wanted}
        return {ref: b"".join(pieces) for ref, pieces in found.items() if pieces}


def _id(ref: Ref) -> str:
    return f"{ref.weights}:{ref.hash}"
