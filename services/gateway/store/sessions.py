"""Sessions in Redis: their configuration, which any gateway can open."""

from __future__ import annotations

import re
import secrets

import grpc
from redis.asyncio import Redis

from services.gateway.events.session import Session, SessionConfig
from services.gateway.settings import StoreSettings
from services.gateway.store.connection import guarded
from services.gateway.store.keys import key, keys, milliseconds, prolong
from services.gateway.store.room import Room
from services.rpc.errors import ServiceError
from services.rpc.limits import too_much

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class SessionStore:
    def __init__(self, redis: Redis, settings: StoreSettings):
        self._redis = redis
        self._life_seconds = settings.session_seconds
        self._max_config_bytes = settings.max_config_bytes
        self._room = Room(redis, settings)

    @guarded
    async def create(self, config: SessionConfig, owner: str = "") -> Session:
        """`owner`: id of the API key that alone may open it again; empty: whoever knows its id may.

        Raises RESOURCE_EXHAUSTED where there is no room, or the configuration is too large.
        """
        session_id, text = secrets.token_urlsafe(16), self._to_json(config)
        await self._room.check()
        life_ms = milliseconds(self._life_seconds)
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.set(key(session_id, "config"), text, px=life_ms)
            if owner:
                pipe.set(key(session_id, "owner"), owner, px=life_ms)
            await pipe.execute()
        return Session(session_id, config)

    @guarded
    async def open(self, session_id: str, owner: str = "") -> Session:
        """Raises INVALID_ARGUMENT for what cannot be an id, NOT_FOUND for an unknown one, or one of another owner.

        Prolongs the session.
        """
        if not _ID.fullmatch(session_id):
            raise ServiceError(grpc.StatusCode.INVALID_ARGUMENT, "session_id is none of ours; send an empty one")
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.mget(keys(session_id, "config", "owner"))
            pipe.llen(key(session_id, "order"))
            pipe.lindex(key(session_id, "order"), -1)
            prolong(pipe, session_id, milliseconds(self._life_seconds))
            (config, owned), items, last, *_ = await pipe.execute()
        if config is None or owned not in (None, owner.encode()):
            raise self._not_found()
        return Session(session_id, SessionConfig.model_validate_json(config), items, (last or b"").decode())

    @guarded
    async def update(self, session_id: str, config: SessionConfig) -> None:
        """Replaces the configuration. Raises NOT_FOUND, RESOURCE_EXHAUSTED. Prolongs the session."""
        text = self._to_json(config)
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.set(key(session_id, "config"), text, xx=True)
            prolong(pipe, session_id, milliseconds(self._life_seconds))
            replaced, *_ = await pipe.execute()
        if not replaced:
            raise self._not_found()

    def _to_json(self, config: SessionConfig) -> bytes:
        text = config.model_dump_json().encode()
        if len(text) > self._max_config_bytes:
            message = f"a configuration of {len(text)} bytes is above the limit of {self._max_config_bytes}; send less"
            raise too_much("gateway", "max_config_bytes", message)
        return text

    def _not_found(self) -> ServiceError:
        message = (
            "there is no session of this id: it never was, another API key opened it, or it expired "
            f"{self._life_seconds / 60:g} min after its last use; send an empty session_id to begin a new one"
        )
        return ServiceError(grpc.StatusCode.NOT_FOUND, message)
