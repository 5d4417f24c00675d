"""How many clients this gateway takes, and how many more: those who are inside are to keep real time.

Notable points:
- Connections are bounded in any case.
- Nobody new comes in while too much audio of those inside is late, unless there is hardly anybody inside.
- So that lateness shows before too many are inside, as many as half of the LLM core's slots may come at once, and from
  there on a share more every few seconds.
- Who goes on with a session, after a connection or a gateway was lost, is not new.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator

from services.gateway.access.pace import Pace
from services.gateway.settings import AdmissionSettings
from services.rpc.errors import ServiceError
from services.telemetry import metrics

NOTE_SECONDS = 1.0
SLOTS_SECONDS = 1.0  # that the LLM core has to say how many slots it has
FEW_SLOTS = 16  # while it has never said so


class Admission:
    """One a process. Counts the connections of all wires."""

    def __init__(self, settings: AdmissionSettings, most: int, slots: Callable[[], Awaitable[int]]):
        """`most`: connections at once. `slots`: of the LLM core."""
        self._settings, self._most, self._ask_slots = settings, most, slots
        self._slots = FEW_SLOTS
        self._pace = Pace(settings.seconds)
        self._open = 0
        self._counts: deque[tuple[float, int]] = deque()  # (`time.monotonic()`, connections then)
        self._watching: asyncio.Task | None = None
        metrics.MAX_CONNECTIONS.set(most)

    def start(self) -> None:
        self.note()
        self._watching = asyncio.create_task(self._watch())

    def note(self) -> None:
        """To be called about every second."""
        self._pace.note()
        now = time.monotonic()
        self._counts.append((now, self._open))
        while self._counts[0][0] < now - self._settings.seconds:
            self._counts.popleft()

    async def close(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait({self._watching})

    @property
    def connections(self) -> int:
        """Open now."""
        return self._open

    @contextlib.contextmanager
    def connection(self) -> Iterator[None]:
        """Around a connection. Raises RESOURCE_EXHAUSTED where there are too many."""
        if self._open >= self._most:
            metrics.REFUSED.labels("gateway", "max_connections").inc()
            raise ServiceError.at_capacity("connections", self._most, self._settings.retry_seconds)
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    async def admit(self) -> None:
        """For a new session, within its connection. Raises RESOURCE_EXHAUSTED where those inside come first."""
        inside = self._open - 1
        self._check_pace(inside)
        await self._learn_slots()
        before = min((count for _, count in self._counts), default=0)
        room = max(self._slots // 2, round(before * (1 + self._settings.growth)))
        if self._settings.growth and inside >= room:
            message = f"{inside - before} sessions were opened in the last {self._settings.seconds:g} s"
            raise self._refuse("growth", message)

    def check_pace(self) -> None:
        """For a request outside of any session. Raises RESOURCE_EXHAUSTED where those inside come first."""
        self._check_pace(self._open)

    def _check_pace(self, inside: int) -> None:
        if inside >= self._settings.always and self._pace.late_share() > self._settings.late_share:
            raise self._refuse("late_audio", "the answers of running sessions do not keep real time")

    def _refuse(self, limit: str, reason: str) -> ServiceError:
        metrics.REFUSED.labels("gateway", limit).inc()
        return ServiceError.busy(reason, self._settings.retry_seconds)

    async def _learn_slots(self) -> None:
        with contextlib.suppress(ServiceError, TimeoutError):
            async with asyncio.timeout(SLOTS_SECONDS):
                self._slots = await self._ask_slots() or self._slots

    def _count(self, change: int) -> None:
        self._open += change
        metrics.CONNECTIONS.set(self._open)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(NOTE_SECONDS)
            self.note()
