"""What every API of the gateway is served with: the store, the services, and conversations made of them."""

from __future__ import annotations

import asyncio

from protos.parley.v1.model_info_pb2 import ModelInfo
from services.gateway.access.access import Access
from services.gateway.access.admission import Admission
from services.gateway.api.openai.names import ModelNames
from services.gateway.api.release_watch import ReleaseWatch
from services.gateway.conversation.conversation import Conversation
from services.gateway.conversation.early_answers import EarlyAnswers
from services.gateway.media.detector import Detector
from services.gateway.media.memory_budget import MemoryBudget
from services.gateway.settings import GatewaySettings
from services.gateway.store.connection import connect
from services.gateway.store.store import RedisStore
from services.gateway.upstream.releases import ServingReleases
from services.rpc.errors import ServiceError


class Backend:
    """One a process."""

    def __init__(self, settings: GatewaySettings):
        self.store = RedisStore(settings.store)
        self.releases = ServingReleases(settings.upstream)
        self.access = Access(
            settings.access,
            settings.server,
            connect(settings.store.redis_url, settings.store, settings.store.recovery_seconds),
        )
        self.admission = Admission(settings.admission, settings.server.max_connections, self._describe)
        self.models = ModelNames(settings.api)
        self._detector = Detector()
        self._early = EarlyAnswers(settings.conversation.early_answers)
        self.memory = MemoryBudget(settings.server)
        self.stopping = False  # nobody new is served
        self.requests = 0  # of HTTP, that are being answered
        self._watch = ReleaseWatch(self.store.releases, self.releases)
        self.settings = settings

    async def start(self) -> None:
        await self._watch.start()
        self.admission.start()

    @property
    def busy(self) -> bool:
        """Somebody is being served, on any wire."""
        return self.requests > 0 or self.admission.connections > 0

    def conversation(self) -> Conversation:
        settings = self.settings
        return Conversation(
            self.store,
            self.releases,
            settings.conversation,
            settings.media,
            settings.vad,
            self._detector,
            self._early,
            self.memory,
        )

    async def _describe(self, service: str) -> ModelInfo:
        return await self.releases.current.describe(service)

    async def missing(self) -> list[str]:
        """What does not answer now, of the sessions' Redis and the four services; empty when a turn can be served.

        All are asked at once and have `probe_seconds`.
        """
        services, redis = await asyncio.gather(self.releases.current.ready(), self._redis_answers())
        missing = [service for service, answers in services.items() if not answers]
        return missing if redis else [*missing, "redis"]

    async def _redis_answers(self) -> bool:
        try:
            async with asyncio.timeout(self.settings.upstream.probe_seconds):
                await self.store.ping()
        except (ServiceError, TimeoutError):
            return False
        return True

    async def close(self) -> None:
        self._detector.stop()
        await self.admission.close()
        await self._watch.stop()
        await self.releases.close()
        await self.access.close()
        await self.store.close()
