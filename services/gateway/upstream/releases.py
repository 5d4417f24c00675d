"""The services of each release, and which of them new turns are bound to.

A turn sends all its calls to the release that was current when it began, so no turn mixes weights; a promotion waits
for it before the release is removed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from services.gateway.settings import UpstreamSettings
from services.gateway.upstream.connections import Connections
from services.gateway.upstream.services import Services
from services.ray.serve_config import SLOTS
from services.release_pointer import GatewayReport
from services.telemetry import logs

log = logs.get_logger(__name__)


class ServingReleases:
    """One a process. Implements `upstream.calls.Releases`."""

    def __init__(self, settings: UpstreamSettings):
        self._connections = Connections(settings)
        self._services = {slot: Services(settings, slot, self._connections) for slot in SLOTS}
        self._turns = dict.fromkeys(SLOTS, 0)
        self.slot = SLOTS[0]

    @property
    def current(self) -> Services:
        return self._services[self.slot]

    def of(self, slot: str) -> Services:
        return self._services[slot]

    @contextlib.contextmanager
    def bind(self) -> Iterator[Services]:
        slot = self.slot
        self._turns[slot] += 1
        try:
            yield self._services[slot]
        finally:
            self._turns[slot] -= 1

    def use(self, slot: str) -> None:
        """New turns are bound to this slot. Raises `ValueError` for one that there is not."""
        if slot not in self._services:
            raise ValueError(f"there is no slot {slot!r}; the slots are {', '.join(SLOTS)}")
        if slot != self.slot:
            log.info("new questions go to another release", slot=slot, before=self.slot)
            self.slot = slot

    async def find(self) -> bool:
        """Uses the first slot that is wholly ready, where one is: for a gateway that nobody has told which it is."""
        for slot in SLOTS:
            if all((await self._services[slot].ready()).values()):
                self.use(slot)
                return True
        return False

    async def stand_in(self, slot: str) -> str:
        """`slot`, or another one where nothing of this one answers and all of that one does."""
        if any((await self._services[slot].ready()).values()):
            return slot
        for other, services in self._services.items():
            if other != slot and all((await services.ready()).values()):
                return other
        return slot

    def report(self) -> GatewayReport:
        return GatewayReport(slot=self.slot, turns=dict(self._turns))

    async def close(self) -> None:
        for services in self._services.values():
            await services.close()
        await self._connections.close()
