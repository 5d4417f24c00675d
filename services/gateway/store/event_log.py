"""The last events that a client of a session was sent, so that any gateway can resume its connection.

The newest connection writes; an older one finds its epoch outdated. An entry's id is `<sequence>-0`. What else must
change together with the log, the running turns, is written by the same call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import grpc
from redis.asyncio import Redis

from services.gateway.events import Event, decode, encode
from services.gateway.settings import StoreSettings
from services.gateway.store.connection import guarded
from services.gateway.store.keys import key, keys, milliseconds
from services.gateway.store.protocols import MAX_APPEND, MAX_UNLOGGED, NO_TURNS
from services.rpc.errors import ServiceError

MAX_ENTRIES = 2048  # of one session
MAX_BYTES = 2 << 20  # of one session: about 40 s of audio
GAP = MAX_UNLOGGED + MAX_APPEND  # numbers that an older connection may have used without logging them

# log; life of the session, 1 where the log is written ahead → epoch, last number that may have been used
_BEGIN = f"""
local log = KEYS[1]
local last = tonumber(redis.call('HGET', log, 'sequence') or 0)
local start = tonumber(redis.call('HGET', log, 'start') or 0)
local epoch = redis.call('HINCRBY', log, 'epoch', 1)
if epoch > 1 and redis.call('HGET', log, 'ahead') ~= '1' then
  if last > start then redis.call('HSET', log, 'before', last) end
  last = last + {GAP}
  redis.call('HSET', log, 'start', last)
end
redis.call('HSET', log, 'sequence', last, 'ahead', ARGV[2])
redis.call('PEXPIRE', log, ARGV[1])
return {{epoch, last}}
"""

# stream, log, running turns; epoch, life of the session, of an entry (ms), most entries, most bytes, number of turns'
# fields, (field, value or '')…, arguments an event, (sequence, field, value…)…
# → 1, or 0 where a newer connection has begun. The same call again changes nothing.
_APPEND = """
local stream, log, running = KEYS[1], KEYS[2], KEYS[3]
local epoch, kept_ms, fields_end = ARGV[1], tonumber(ARGV[3]), 6 + 2 * tonumber(ARGV[6])
local width = tonumber(ARGV[fields_end + 1])
if (redis.call('HGET', log, 'epoch') or epoch) ~= epoch then return 0 end
local last = tonumber(redis.call('HGET', log, 'sequence') or 0)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local bytes = redis.call('EXISTS', stream) == 1 and tonumber(redis.call('HGET', log, 'bytes') or 0) or 0
local function size(fields)
  local total = 0
  for _, field in ipairs(fields) do total = total + #tostring(field) end
  return total
end
for i = 7, fields_end, 2 do
  local name, value = ARGV[i], ARGV[i + 1]
  if value == '' then redis.call('HDEL', running, name) else redis.call('HSET', running, name, value) end
end
for i = fields_end + 2, #ARGV, width do
  if tonumber(ARGV[i]) > last then
    local fields = {'time', now, unpack(ARGV, i + 1, i + width - 1)}
    redis.call('XADD', stream, ARGV[i] .. '-0', unpack(fields))
    bytes = bytes + size(fields)
    last = tonumber(ARGV[i])
  end
end
local count = redis.call('XLEN', stream)
local oldest = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
while oldest and (now - tonumber(oldest[2][2]) > kept_ms or count > tonumber(ARGV[4]) or bytes > tonumber(ARGV[5])) do
  redis.call('XDEL', stream, oldest[1])
  bytes, count = bytes - size(oldest[2]), count - 1
  oldest = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
end
redis.call('HSET', log, 'epoch', epoch, 'sequence', last, 'bytes', bytes)
redis.call('PEXPIRE', stream, ARGV[3])
redis.call('PEXPIRE', log, ARGV[2])
if fields_end > 6 then redis.call('PEXPIRE', running, ARGV[2]) end
return 1
"""


class EventLog:
    def __init__(self, redis: Redis, settings: StoreSettings):
        self._redis = redis
        self._seconds = settings.resume_seconds
        self._life_ms = milliseconds(settings.session_seconds)
        self._begin = redis.register_script(_BEGIN)
        self._append = redis.register_script(_APPEND)

    @guarded
    async def begin(self, session_id: str, ahead: bool = False) -> tuple[int, int]:
        """Takes over the log for a new connection. → its epoch, and the sequence that its first event follows.

        `ahead`: this connection logs each event before it delivers it. An older one that did not may have delivered
        events that it did not log: their numbers are not used again.
        """
        epoch, sequence = await self._begin(keys(session_id, "log"), [self._life_ms, int(ahead)])
        return epoch, sequence

    @guarded
    async def append(
        self, session_id: str, epoch: int, events: Sequence[Event], turns: Mapping[str, bytes] = NO_TURNS
    ) -> bool:
        """Keeps up to `MAX_APPEND` numbered events, and fields of the running turns, of which an empty one is removed.

        False, and nothing is kept, where a newer connection has begun.
        """
        assert len(events) <= MAX_APPEND, f"{len(events)} events in one append"
        assert all(event.sequence for event in events), "events are numbered before they are kept"
        entries = [_arguments(event) for event in events]
        limits = [self._life_ms, milliseconds(self._seconds), MAX_ENTRIES, MAX_BYTES]
        fields = [len(turns), *(part for field in turns.items() for part in field)]
        entry_arguments = [argument for entry in entries for argument in entry]
        arguments = [epoch, *limits, *fields, len(entries[0]) if entries else 1, *entry_arguments]
        return bool(await self._append(keys(session_id, "events", "log", "running"), arguments))

    @guarded
    async def read(self, session_id: str, after: int) -> Sequence[Event]:
        """The events that follow the sequence `after`. Raises OUT_OF_RANGE where some of them are gone."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.xrange(key(session_id, "events"), min=f"{after + 1}-0")
            pipe.hmget(key(session_id, "log"), "sequence", "before", "start")
            entries, facts = await pipe.execute()
        last, before, start = (int(fact or 0) for fact in facts)
        unused = max(0, start - max(after, before))  # numbers between two connections
        if len(entries) != last - after - unused:
            message = (
                f"the events after {after} cannot be resumed: the last is {last}, and events are kept for "
                f"{self._seconds:g} s; open the session again without resuming"
            )
            raise ServiceError(grpc.StatusCode.OUT_OF_RANGE, message)
        return [decode(_sequence(entry_id), fields) for entry_id, fields in entries]


def _arguments(event: Event) -> list[int | str | bytes]:
    return [event.sequence, *(part for field in encode(event).items() for part in field)]


def _sequence(entry_id: bytes) -> int:
    return int(entry_id.partition(b"-")[0])
