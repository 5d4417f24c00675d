"""Items of a session in Redis, in their order, with how far each spoken answer has been played.

How far is kept beside the items: a report may come before its item is appended.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import grpc
from redis.asyncio import Redis

from services.gateway.events.items import Item
from services.gateway.settings import StoreSettings
from services.gateway.store.connection import guarded
from services.gateway.store.keys import SESSION, key, keys, milliseconds, prolong
from services.gateway.store.leases import IS_HELD, LOST, lease_keys
from services.gateway.store.protocols import Lease
from services.rpc.errors import ServiceError

# All: the session's keys; life of the session (ms), most items.
_COMMON = """
local items, order, played, most = KEYS[2], KEYS[3], KEYS[4], tonumber(ARGV[2])
local function prolong()
  for i = 1, 6 do redis.call('PEXPIRE', KEYS[i], ARGV[1]) end
end
local function remove_oldest()
  while redis.call('LLEN', order) > most do
    local id = redis.call('LPOP', order)
    redis.call('HDEL', items, id)
    redis.call('HDEL', played, id)
  end
end
"""
# and the keys of the lease; token, (id, JSON)… → id of the item before the first, or as LOST says.
# The same call again changes nothing.
_APPEND = f"""{IS_HELD}{LOST}{_COMMON}
if not is_held(KEYS[7], KEYS[8], ARGV[3]) then return lost(KEYS[7], KEYS[8]) end
local position = redis.call('LPOS', order, ARGV[4])
local previous = redis.call('LINDEX', order, (position or 0) - 1)
if position == 0 then previous = false end
for i = 4, #ARGV, 2 do
  if redis.call('HSET', items, ARGV[i], ARGV[i + 1]) == 1 then redis.call('RPUSH', order, ARGV[i]) end
end
remove_oldest()
prolong()
return previous or ''
"""
# id, JSON, id of the item before it, '' or 'root'
# → id of the item before it, 0 where the new one is taken, -1 where the one before is unknown
_INSERT = f"""{_COMMON}
local id, previous = ARGV[3], ARGV[5]
if redis.call('HEXISTS', items, id) == 1 then return 0 end
if previous ~= '' and previous ~= 'root' and redis.call('HEXISTS', items, previous) == 0 then return -1 end
redis.call('HSET', items, id, ARGV[4])
if previous == 'root' then
  previous = ''
  redis.call('LPUSH', order, id)
elseif previous == '' then
  previous = redis.call('LINDEX', order, -1) or ''
  redis.call('RPUSH', order, id)
else
  redis.call('LINSERT', order, 'AFTER', previous, id)
end
remove_oldest()
prolong()
return previous
"""
# id, JSON. An item that is gone stays so.
_REPLACE = f"""{_COMMON}
if redis.call('HEXISTS', items, ARGV[3]) == 1 then redis.call('HSET', items, ARGV[3], ARGV[4]) end
prolong()
"""
# id, samples. Reports without an item are removed when they are too many.
_SET_PLAYED = f"""{_COMMON}
if redis.call('HLEN', played) >= most then
  for _, id in ipairs(redis.call('HKEYS', played)) do
    if redis.call('HEXISTS', items, id) == 0 then redis.call('HDEL', played, id) end
  end
end
if redis.call('HLEN', played) < most or redis.call('HEXISTS', items, ARGV[3]) == 1 then
  redis.call('HSET', played, ARGV[3], ARGV[4])
end
prolong()
"""


class ItemStore:
    def __init__(self, redis: Redis, settings: StoreSettings):
        self._redis = redis
        self._max_items = settings.max_items
        self._life_ms = milliseconds(settings.session_seconds)
        self._append = redis.register_script(_APPEND)
        self._insert = redis.register_script(_INSERT)
        self._replace = redis.register_script(_REPLACE)
        self._set_played = redis.register_script(_SET_PLAYED)

    @guarded
    async def list(self, session_id: str) -> Sequence[Item]:
        """All items, oldest first. Prolongs the session."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.lrange(key(session_id, "order"), 0, -1)
            pipe.hgetall(key(session_id, "items"))
            pipe.hgetall(key(session_id, "played"))
            prolong(pipe, session_id, self._life_ms)
            order, items, played, *_ = await pipe.execute()
        return [_item(items[item_id], played.get(item_id)) for item_id in order]

    @guarded
    async def get(self, session_id: str, item_id: str) -> Item:
        """Raises NOT_FOUND. Prolongs the session."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hget(key(session_id, "items"), item_id)
            pipe.hget(key(session_id, "played"), item_id)
            prolong(pipe, session_id, self._life_ms)
            data, played, *_ = await pipe.execute()
        if data is None:
            raise _not_found(item_id)
        return _item(data, played)

    @guarded
    async def append(self, lease: Lease, items: Iterable[Item]) -> str:
        """Keeps the items of a turn. Returns the id of the item before them, or "".

        Raises ABORTED where the lease has gone to another gateway, NOT_FOUND where the store has lost the session.
        """
        fields = [field for item in items for field in (item.id, item.to_json())]
        script_keys = [*keys(lease.session_id, *SESSION), *lease_keys(lease.session_id)]
        previous = await self._append(script_keys, [self._life_ms, self._max_items, lease.token, *fields])
        if previous in (0, -1):
            lease.forgotten = previous == -1
            raise lease.loss()
        return previous.decode()

    @guarded
    async def insert(self, session_id: str, item: Item, previous_item_id: str = "") -> str:
        """Keeps an item behind the named one, at the end, or in front of all (`root`). → id of the item before it.

        Raises ALREADY_EXISTS or NOT_FOUND.
        """
        args = [self._life_ms, self._max_items, item.id, item.to_json(), previous_item_id]
        result = await self._insert(keys(session_id, *SESSION), args)
        if result == 0:
            message = f"item {item.id} is there already; give the new one another id"
            raise ServiceError(grpc.StatusCode.ALREADY_EXISTS, message)
        if result == -1:
            raise _not_found(previous_item_id)
        return result.decode()

    @guarded
    async def replace(self, session_id: str, item: Item) -> None:
        """Keeps another content under the item's id, unless it has been deleted."""
        await self._replace(keys(session_id, *SESSION), [self._life_ms, self._max_items, item.id, item.to_json()])

    @guarded
    async def truncate(self, session_id: str, item_id: str, samples: int) -> None:
        """Ends a spoken answer after `samples` of its audio. Raises NOT_FOUND or INVALID_ARGUMENT."""
        item = await self.get(session_id, item_id)
        if item.role != "assistant" or not item.marks:
            message = f"item {item_id} is no spoken answer; only those can be truncated"
            raise ServiceError(grpc.StatusCode.INVALID_ARGUMENT, message)
        await self.set_played(session_id, item_id, samples)

    @guarded
    async def set_played(self, session_id: str, item_id: str, samples: int) -> None:
        """Notes how far the client has played an item, which may be appended later. Raises INVALID_ARGUMENT."""
        if samples < 0:
            message = f"{samples} samples cannot be played; send 0 or more"
            raise ServiceError(grpc.StatusCode.INVALID_ARGUMENT, message)
        await self._set_played(keys(session_id, *SESSION), [self._life_ms, self._max_items, item_id, samples])

    @guarded
    async def delete(self, session_id: str, item_id: str) -> None:
        """Raises NOT_FOUND."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hdel(key(session_id, "items"), item_id)
            pipe.lrem(key(session_id, "order"), 1, item_id)
            pipe.hdel(key(session_id, "played"), item_id)
            prolong(pipe, session_id, self._life_ms)
            deleted, *_ = await pipe.execute()
        if not deleted:
            raise _not_found(item_id)


def _item(data: bytes, played: bytes | None) -> Item:
    item = Item.model_validate_json(data)
    if played is None:
        return item
    samples = int(played)
    if item.marks:  # nobody can have played more than was sent
        samples = min(samples, item.marks[-1][0])
    return item.model_copy(update={"played": samples})


def _not_found(item_id: str) -> ServiceError:
    message = f"no item {item_id} in this session: it never was, was deleted, or is older than the items that are kept"
    return ServiceError(grpc.StatusCode.NOT_FOUND, message)
