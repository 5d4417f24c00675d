"""Who may use this gateway, and how much of it."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc
from redis.asyncio import Redis

from services.gateway.access import exposure, keys
from services.gateway.access.audio_meter import AudioMeter
from services.gateway.access.cache import Cache
from services.gateway.access.key_store import KeyStore
from services.gateway.access.keys import ApiKey, ClientSecret, KeyLimits
from services.gateway.access.usage import Usage, seconds_to_midnight
from services.gateway.settings import AccessSettings, ServerSettings
from services.rpc.errors import ServiceError
from services.telemetry import logs, metrics

log = logs.get_logger(__name__)

CLOSE_SECONDS = 2.0  # to tell Redis what is left


@dataclass(frozen=True)
class Caller:
    """Who calls. `key_id` empty: this gateway asks for no key."""

    key_id: str = ""
    session: Mapping[str, Any] | None = None  # of a short-lived key: settings of every session that it opens
    limits: KeyLimits = field(default_factory=KeyLimits)

    @property
    def short_lived(self) -> bool:
        """It has a client secret: it may open Realtime sessions, and nothing else."""
        return self.session is not None


@dataclass(frozen=True)
class Limits:
    """Requests that the caller has left, for the rate-limit headers; None: there is no limit."""

    limit: int
    remaining: int
    reset_seconds: float


class AudioUsedUpError(ServiceError):
    """A session ends with it: each further piece of audio would be refused."""


class Access:
    """One a process. Every method raises `ServiceError` for what is refused."""

    def __init__(self, settings: AccessSettings, server: ServerSettings, redis: Redis):
        self._settings, self._redis = settings, redis
        self._exposed = exposure.is_exposed(server) and not server.insecure
        self._seen_keys = False
        self.keys, self.usage = KeyStore(redis), Usage(redis)
        self._cache = Cache(settings.cache_seconds)
        self._audio = AudioMeter(self.usage)
        self._releasing: set[asyncio.Task] = set()  # sessions that have ended; nobody waits for Redis there

    async def caller(self, key: str) -> Caller:
        """`key` as the client sent it, else empty. Raises UNAUTHENTICATED."""
        if keys.is_short_lived(key):
            return await self._short_lived_caller(key)
        if not await self._required():
            return Caller()
        if not key:
            raise _unauthenticated("no API key came with the request; send it as `Authorization: Bearer KEY`")
        key_id = keys.id_of(key)
        record = await self._find(key_id) if key_id else None
        if record is None or not keys.matches(record, key):
            raise _unauthenticated("the API key is not valid here, or was revoked")
        return Caller(record.id, limits=record.limits)

    async def full_caller(self, key: str) -> Caller:
        """As `caller`, for what a client secret does not open. Raises PERMISSION_DENIED for one, too."""
        caller = await self.caller(key)
        if caller.short_lived:
            message = "a client secret opens Realtime sessions only; use an API key here"
            raise ServiceError(grpc.StatusCode.PERMISSION_DENIED, message)
        return caller

    async def request(self, caller: Caller) -> Limits | None:
        """Counts a request. Raises RESOURCE_EXHAUSTED, with the time after which to try again."""
        most = caller.limits.requests
        if not most:
            return None
        count = await self.usage.request(caller.key_id, most)
        if not count.admitted:
            message = f"this key may make {most} requests a minute; try again in {count.retry_seconds:.1f} s"
            raise _exhausted("key_requests", message, count.retry_seconds)
        free = 1.0 - count.reset_seconds / 60.0
        return Limits(most, max(0, int(most * free + 1e-6)), count.reset_seconds)

    @contextlib.asynccontextmanager
    async def session(self, caller: Caller) -> AsyncIterator[None]:
        """Around a session of any wire: it counts among the caller's.

        Raises RESOURCE_EXHAUSTED at once where they are too many, or no audio is left. Where the key is revoked
        meanwhile, the body is cancelled and UNAUTHENTICATED raised. To be entered and left by one task, which runs the
        body.
        """
        if not caller.key_id:
            yield
            return
        await self.audio_left(caller)
        token = secrets.token_hex(8)
        await self._take_session(caller, token)
        try:
            async with asyncio.timeout(None) as until:
                renewing = asyncio.create_task(self._renew(caller, token, until))
                try:
                    yield
                finally:
                    renewing.cancel()
        except TimeoutError:
            if until.expired():
                raise _unauthenticated("the API key was revoked") from None
            raise
        finally:
            self._releasing.add(releasing := asyncio.create_task(self._release_session(caller, token)))
            releasing.add_done_callback(self._releasing.discard)

    async def audio_left(self, caller: Caller) -> None:
        """Before what makes audio begins. Raises `AudioUsedUpError` where the caller has none left for today."""
        if caller.limits.audio_minutes:
            await self._audio.load(caller.key_id)
            await self.audio(caller, 0.0)

    async def audio(self, caller: Caller, seconds: float) -> None:
        """Counts seconds of audio, in or out. Raises `AudioUsedUpError` once they are used up. Waits for nothing."""
        if not caller.key_id:
            return
        used, most = self._audio.add(caller.key_id, seconds), caller.limits.audio_minutes
        if most and used >= most * 60:
            metrics.REFUSED.labels("gateway", "key_audio").inc()
            message = f"this key may use {most:g} minutes of audio a day (UTC), which are used up"
            raise AudioUsedUpError(grpc.StatusCode.RESOURCE_EXHAUSTED, message, seconds_to_midnight())

    async def create_secret(self, caller: Caller, seconds: int, session: dict[str, Any]) -> tuple[str, ClientSecret]:
        """→ a client secret for this time, and its record. Raises RESOURCE_EXHAUSTED where there are too many."""
        value, record = keys.new_client_secret(caller.key_id, seconds, session)
        most = self._settings.client_secrets
        wait = await self.usage.take("secrets", caller.key_id, record.id, seconds, most)
        if wait is not None:
            raise _exhausted("client_secrets", f"{most} client secrets of this key have not expired yet", wait)
        await self.keys.put_secret(record)
        return value, record

    async def warn_without_keys(self) -> None:
        """Where nobody can get in: a key is asked for, and there is none."""
        with contextlib.suppress(ServiceError, TimeoutError):
            async with asyncio.timeout(1.0):
                if await self._required() and not await self.keys.list():
                    log.warning("requests need an API key, and there is none: `parley keys create NAME` makes one")

    async def close(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await asyncio.gather(self._audio.close(), *self._releasing)
        await self._redis.aclose()

    async def _short_lived_caller(self, key: str) -> Caller:
        secret_id = keys.id_of(key)  # its record holds a session, which is too large to be kept here
        secret = await self.keys.find_secret(secret_id) if secret_id else None
        if secret is None or not keys.matches(secret, key) or secret.expires_at <= time.time():
            raise _unauthenticated("the client secret is not valid here, or has expired; make a new one")
        record = await self._find(secret.key_id) if secret.key_id else None
        if record is None and (secret.key_id or await self._required()):
            raise _unauthenticated("the API key of this client secret was revoked, or is missing")
        return Caller(secret.key_id, secret.session, record.limits if record else KeyLimits())

    async def _required(self) -> bool:
        """Whether a request needs a key. Once it does, it does for as long as this process lives."""
        if self._settings.keys != "auto":
            return self._settings.keys == "required"
        if not self._exposed and not self._seen_keys:
            self._seen_keys = await self._cache.get("", self.keys.ever_created)
        return self._exposed or self._seen_keys

    async def _find(self, key_id: str) -> ApiKey | None:
        return await self._cache.get(f"sk-{key_id}", lambda: self.keys.find(key_id))

    async def _take_session(self, caller: Caller, token: str) -> None:
        most, seconds = caller.limits.sessions, self._settings.session_lease_seconds
        if await self.usage.take("sessions", caller.key_id, token, seconds, most) is not None:
            raise _exhausted("key_sessions", f"this key may have {most} sessions open at once; close one", 1.0)

    async def _release_session(self, caller: Caller, token: str) -> None:
        with contextlib.suppress(ServiceError):  # then its lease runs out
            await self.usage.release("sessions", caller.key_id, token)

    async def _renew(self, caller: Caller, token: str, until: asyncio.Timeout) -> None:
        """Keeps a session's place until its key is revoked. While Redis is out of reach nothing changes."""
        seconds = self._settings.session_lease_seconds
        while True:
            await asyncio.sleep(seconds / 4)
            with contextlib.suppress(ServiceError):
                if await self._find(caller.key_id) is None:
                    until.reschedule(asyncio.get_running_loop().time())
                    return
                await self.usage.take("sessions", caller.key_id, token, seconds)


def _unauthenticated(message: str) -> ServiceError:
    metrics.REFUSED.labels("gateway", "key").inc()
    return ServiceError(grpc.StatusCode.UNAUTHENTICATED, message)


def _exhausted(limit: str, message: str, retry_after: float) -> ServiceError:
    metrics.REFUSED.labels("gateway", limit).inc()
    return ServiceError(grpc.StatusCode.RESOURCE_EXHAUSTED, message, max(retry_after, 0.1))
