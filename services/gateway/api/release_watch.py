"""Follows the release pointer: new turns go where it says, a moment after a promotion has moved it."""

from __future__ import annotations

import asyncio
import contextlib
import time

from services.gateway.store.releases import ReleaseStore
from services.gateway.upstream.releases import ServingReleases
from services.release_pointer import POLL_SECONDS, Pointer
from services.rpc.errors import ServiceError
from services.telemetry import logs

LOOK_SECONDS = 5.0  # between two looks whether the release that the pointer names is there

log = logs.get_logger(__name__)


class ReleaseWatch:
    """While Redis is out of reach the release that is used stays. A Redis that has lost the pointer gets it back.

    A release that is gone, where its cluster was deployed anew in the other slot, is not waited for.
    """

    def __init__(self, store: ReleaseStore, releases: ServingReleases):
        self._store, self._releases = store, releases
        self._pointer: Pointer | None = None  # as it was last, or to the release that serves; None: not known yet
        self._look_at = 0.0  # `time.monotonic()`
        self._task: asyncio.Task | None = None

    async def start(self) -> None:
        """Returns once the release is known, as far as Redis and the services can tell now."""
        await self._follow()
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        with contextlib.suppress(ServiceError):
            await self._store.leave()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            await self._follow()

    async def _follow(self) -> None:
        """What the pointer says that cannot be is logged and not followed."""
        try:
            pointer = await self._store.report(self._releases.report())
            if pointer is not None:
                await self._use(pointer)
                return
            if self._pointer is None and await self._releases.find():
                self._pointer = Pointer(slot=self._releases.slot)
            if self._pointer is not None:
                await self._store.begin(self._pointer)
        except (ServiceError, ValueError) as error:
            log.warning("the release pointer cannot be followed", error=str(error)[:200])

    async def _use(self, pointer: Pointer) -> None:
        if pointer != self._pointer:
            self._releases.use(pointer.slot)
            self._pointer = pointer
        elif time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + LOOK_SECONDS
            self._releases.use(await self._releases.stand_in(pointer.slot))
