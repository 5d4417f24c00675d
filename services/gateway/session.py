"""Sessions in Redis: what must outlive a gateway process, and who may write to it.

Keys, all of which expire:
- `parley:{<session>}:config`   JSON of `SessionConfig`
- `parley:{<session>}:items`    list of `KeptMessage` JSON, oldest first, at most `history_messages`
- `parley:{<session>}:heard`    hash turn id → samples played, reported after the turn was kept
- `parley:{<session>}:turn`     the lease of the turn that is being answered: a random token
- `parley:{<session>}:last`     the token that had the lease last
- `parley:embedding:<name>`      a serialized `Tensor` (see `embeddings.py`)

A turn holds a lease while it lasts, renews it, and can write only with it: two gateways never answer in one session at
once, and a gateway that was cut off cannot write late. The lease of a dead gateway runs out and is taken over. One that
ran out while its gateway was only slow, and that nobody has had since, is still its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

import grpc
from pydantic import BaseModel
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from services.gateway.history import KeptMessage, with_heard
from services.gateway.settings import GatewaySettings
from services.rpc.errors import ServiceError
from services.telemetry import logs, metrics

log = logs.get_logger(__name__)

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")

# All: lease, last holder; token.
# lease time, life of the last holder's name (ms)  →  -1, or how long (ms) the lease is still another's
_ACQUIRE = """
if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return math.max(0, redis.call('PTTL', KEYS[1])) end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[3])
return -1
"""
_IF_HELD = """
local holder = redis.call('GET', KEYS[1])
if holder ~= ARGV[1] and (holder or redis.call('GET', KEYS[2]) ~= ARGV[1]) then return 0 end
"""
# lease time (ms)  →  1, or 0 where another has it, or has had it since
_RENEW = _IF_HELD + "redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) return 1"
# and the items; life of the items (ms), most messages, message…  →  1, or 0 as above
_APPEND = (
    _IF_HELD
    + """
for i = 4, #ARGV do redis.call('RPUSH', KEYS[3], ARGV[i]) end
if tonumber(ARGV[3]) == 0 then redis.call('DEL', KEYS[3]) else redis.call('LTRIM', KEYS[3], -tonumber(ARGV[3]), -1) end
redis.call('PEXPIRE', KEYS[3], ARGV[2])
return 1
"""
)
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


class SessionConfig(BaseModel):
    instructions: str = ""
    voice: list[int] = []


@dataclass(frozen=True)
class Session:
    id: str
    config: SessionConfig
    items: int  # messages it holds


@dataclass
class Lease:
    session_id: str
    token: str
    lost: asyncio.Event  # set once another has it


def _guarded(operation):
    """Redis out of reach becomes UNAVAILABLE, in words that say so."""

    @functools.wraps(operation)
    async def guarded(self, *args, **kwargs):
        task = asyncio.current_task()
        cancels = task.cancelling()
        try:
            result = await operation(self, *args, **kwargs)
            if task.cancelling() > cancels:  # a cancel that met the reply is swallowed on the way up through redis-py
                raise asyncio.CancelledError
            return result
        except (RedisError, OSError, TimeoutError) as error:
            metrics.STORE_ERRORS.labels(operation.__name__).inc()
            log.warning("session store failed", operation=operation.__name__, error=str(error))
            message = "the session store (Redis) cannot be reached; what was said so far is safe, try again shortly"
            raise ServiceError(grpc.StatusCode.UNAVAILABLE, message, retry_after=1.0) from error

    return guarded


class SessionStore:
    """All methods raise `ServiceError` UNAVAILABLE while Redis is out of reach, and work again once it is back."""

    def __init__(self, settings: GatewaySettings):
        self._settings = settings
        self._ttl = round(settings.session_seconds * 1000)
        self._redis = Redis.from_url(
            settings.redis_url,
            socket_timeout=settings.redis_timeout,
            socket_connect_timeout=settings.redis_timeout,
            health_check_interval=15,
            retry=Retry(ConstantBackoff(0.05), 1),
            retry_on_error=[RedisConnectionError, RedisTimeoutError],
        )
        self._take = self._redis.register_script(_ACQUIRE)
        self._append = self._redis.register_script(_APPEND)
        self._renew = self._redis.register_script(_RENEW)
        self._release = self._redis.register_script(_RELEASE)

    async def close(self) -> None:
        await self._redis.aclose()

    @_guarded
    async def ping(self) -> None:
        await self._redis.ping()

    # Sessions.

    @_guarded
    async def create(self, config: SessionConfig) -> Session:
        session_id = secrets.token_urlsafe(12)
        await self._redis.set(_key(session_id, "config"), config.model_dump_json(), px=self._ttl)
        return Session(session_id, config, items=0)

    @_guarded
    async def resume(self, session_id: str, changes: SessionConfig) -> Session:
        """An existing session; fields of `changes` that are not empty replace what it holds. Raises NOT_FOUND."""
        if not _ID.fullmatch(session_id):
            raise ServiceError(grpc.StatusCode.INVALID_ARGUMENT, "session_id is none of ours; send an empty one")
        kept = await self._redis.get(_key(session_id, "config"))
        if kept is None:
            minutes = self._settings.session_seconds / 60
            message = (
                f"no session {session_id}: it never was, or it expired {minutes:g} min after its last use; "
                "send an empty session_id to begin a new one"
            )
            raise ServiceError(grpc.StatusCode.NOT_FOUND, message)
        given = {name: value for name, value in changes.model_dump().items() if value}
        config = SessionConfig.model_validate_json(kept).model_copy(update=given)
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.set(_key(session_id, "config"), config.model_dump_json(), px=self._ttl)
            pipe.llen(_key(session_id, "items"))
            _, items = await pipe.execute()
        return Session(session_id, config, items)

    @_guarded
    async def history(self, session_id: str) -> list[KeptMessage]:
        """The messages, oldest first, with what has been reported as heard. Prolongs the session's life."""
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.lrange(_key(session_id, "items"), 0, -1)
            pipe.hgetall(_key(session_id, "heard"))
            for name in ("config", "items", "heard"):
                pipe.pexpire(_key(session_id, name), self._ttl)
            items, heard, *_ = await pipe.execute()
        messages = [KeptMessage.model_validate_json(item) for item in items]
        reported = {turn.decode(): int(samples) for turn, samples in heard.items()}
        gone = reported.keys() - {message.turn_id for message in messages}
        if gone:
            await self._redis.hdel(_key(session_id, "heard"), *gone)
        return with_heard(messages, reported)

    @_guarded
    async def append(self, lease: Lease, messages: Iterable[KeptMessage]) -> None:
        """Keeps the messages of a turn. Raises ABORTED where the lease has gone to another gateway."""
        keys = [*_lease_keys(lease.session_id), _key(lease.session_id, "items")]
        rows = [message.to_json() for message in messages]
        if not await self._append(keys=keys, args=[lease.token, self._ttl, self._settings.history_messages, *rows]):
            message = "another connection took over this session while the turn ran; the turn was not kept"
            raise ServiceError(grpc.StatusCode.ABORTED, message)

    @_guarded
    async def report_heard(self, session_id: str, turn_id: str, samples: int) -> None:
        """How far the client has played a turn that is already kept."""
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.hset(_key(session_id, "heard"), turn_id, samples)
            pipe.pexpire(_key(session_id, "heard"), self._ttl)
            await pipe.execute()

    # Embeddings by name.

    @_guarded
    async def put_embedding(self, name: str, tensor: bytes) -> None:
        await self._redis.set(_embedding(name), tensor, px=self._ttl)

    @_guarded
    async def embeddings(self, names: Iterable[str]) -> dict[str, bytes]:
        """Those of `names` that are still kept. Prolongs their life."""
        wanted = list(dict.fromkeys(names))
        if not wanted:
            return {}
        async with self._redis.pipeline(transaction=False) as pipe:
            for name in wanted:
                pipe.getex(_embedding(name), px=self._ttl)
            found = await pipe.execute()
        return {name: data for name, data in zip(wanted, found, strict=True) if data is not None}

    # The turn's lease.

    @contextlib.asynccontextmanager
    async def lease(self, session_id: str):
        """Holds the session for one turn, renewing while it lasts.

        Raises ABORTED where a living gateway holds it; where its gateway has died, waits until that lease runs out.
        """
        lease = Lease(session_id, secrets.token_hex(8), asyncio.Event())
        renewing = None
        try:
            await self._acquire(lease)
            renewing = asyncio.create_task(self._keep(lease))  # not earlier: what is not held yet would count as lost
            yield lease
        finally:
            if renewing is not None:
                renewing.cancel()
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                await self._release(keys=_lease_keys(session_id), args=[lease.token])

    @_guarded
    async def _acquire(self, lease: Lease) -> None:
        keys, milliseconds = _lease_keys(lease.session_id), round(self._settings.lease_seconds * 1000)
        left = None  # of the holder's lease, milliseconds, when last seen
        while (now_left := await self._take(keys=keys, args=[lease.token, milliseconds, self._ttl])) >= 0:
            if left is not None and now_left > left:  # renewed meanwhile: its holder lives
                message = "another connection is answering a turn of this session; wait for it or cancel it there"
                raise ServiceError(grpc.StatusCode.ABORTED, message, retry_after=self._settings.lease_seconds / 3)
            left = now_left
            await asyncio.sleep(min(left / 1000 + 0.01, self._settings.lease_seconds / 10))

    async def _keep(self, lease: Lease) -> None:
        milliseconds = round(self._settings.lease_seconds * 1000)
        while True:
            await asyncio.sleep(self._settings.lease_seconds / 3)
            try:
                if not await self._renew(keys=_lease_keys(lease.session_id), args=[lease.token, milliseconds]):
                    lease.lost.set()
                    return
            except (RedisError, OSError, TimeoutError):  # nobody else can take it either; try again
                metrics.STORE_ERRORS.labels("renew").inc()


def _key(session_id: str, name: str) -> str:
    return f"parley:{{{session_id}}}:{name}"


def _lease_keys(session_id: str) -> list[str]:
    return [_key(session_id, "turn"), _key(session_id, "last")]


def _embedding(name: str) -> str:
    return f"parley:embedding:{name}"
