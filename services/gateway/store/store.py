"""Everything of a session that must survive a gateway process, in Redis."""

from __future__ import annotations

import contextlib

from services.gateway.settings import StoreSettings
from services.gateway.store.connection import REDIS_ERRORS, connect, guarded
from services.gateway.store.embeddings import EmbeddingStore
from services.gateway.store.event_log import EventLog
from services.gateway.store.items import ItemStore
from services.gateway.store.leases import LeaseStore
from services.gateway.store.releases import ReleaseStore
from services.gateway.store.running_turns import RunningTurnStore
from services.gateway.store.sessions import SessionStore
from services.gateway.store.spoken_answers import SpokenAnswers
from services.telemetry import logs

log = logs.get_logger(__name__)


class RedisStore:
    """Implements `store.protocols.Store`.

    All methods raise `ServiceError` UNAVAILABLE while Redis is out of reach, and work again once it is back.
    """

    def __init__(self, settings: StoreSettings):
        sessions = connect(settings.redis_url, settings, settings.recovery_seconds)
        # A cache: nobody waits for it.
        embeddings = connect(settings.embeddings_url, settings) if settings.embeddings_url else sessions
        self._clients = list({id(client): client for client in (sessions, embeddings)}.values())
        self.sessions = SessionStore(sessions, settings)
        self.items = ItemStore(sessions, settings)
        self.leases = LeaseStore(sessions, settings)
        self.events = EventLog(sessions, settings)
        self.running_turns = RunningTurnStore(sessions)
        self.releases = ReleaseStore(sessions)
        self.spoken_answers = SpokenAnswers(sessions)
        self.embeddings = EmbeddingStore(embeddings, settings)

    @guarded
    async def ping(self) -> None:
        await self._clients[0].ping()  # the sessions'; without the embeddings' turns go on

    async def check_policy(self) -> None:
        """Warns where Redis may evict sessions. A Redis that does not tell its policy, or is away, is not judged."""
        with contextlib.suppress(*REDIS_ERRORS):
            policy = (await self._clients[0].config_get("maxmemory-policy")).get("maxmemory-policy")
            if policy != "noeviction":
                log.warning("Redis may evict sessions: set maxmemory-policy noeviction", policy=policy)

    async def close(self) -> None:
        for client in self._clients:
            await client.aclose()
