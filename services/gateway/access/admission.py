"""How many clients this gateway takes, and how many more: those who are inside are to keep real time.

Notable points:
- Connections are bounded in any case.
- Nobody new comes in while the services do not keep up with speech, work waits for them, or too much audio of those
  inside is late, unless there is hardly anybody inside.
- The load of who has just come does not show yet. So as many as a quarter of the LLM core's slots may come at once, and
  from there on a share more every few seconds: the smaller, the nearer the load is to its limit.
- So many as were too many are not let in again for a while: else each quiet moment would let one more in.
- All of it is measured beside, so that who is refused learns it at once.
- Who goes on with a session, after a connection or a gateway was lost, is not new.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from typing import NamedTuple

from protos.parley.v1.model_info_pb2 import ModelInfo
from services.gateway.access.pace import Pace
from services.gateway.access.service_load import ServiceLoad
from services.gateway.settings import AdmissionSettings
from services.rpc.errors import ServiceError
from services.telemetry import metrics

NOTE_SECONDS = 1.0


class Strain(NamedTuple):
    """How near something is to its limit; above 1 nobody new comes in."""

    share: float
    limit: str  # its name in the metrics
    reason: str  # for who is refused


class Admission:
    """One a process. Counts the connections of all wires."""

    def __init__(self, settings: AdmissionSettings, most: int, describe: Callable[[str], Awaitable[ModelInfo]]):
        """`most`: connections at once. `describe`: what a service runs, and its load."""
        self._settings, self._most = settings, most
        self._load = ServiceLoad(describe)
        self._pace = Pace(settings.seconds)
        self._open = 0
        self._counts: deque[tuple[float, int]] = deque()  # (`time.monotonic()`, connections then)
        self._too_many, self._until = 0, 0.0  # connections that were, and until when that is remembered
        self._watching: asyncio.Task | None = None
        metrics.MAX_CONNECTIONS.set(most)

    def start(self) -> None:
        self._watching = asyncio.create_task(self._watch())

    async def note(self) -> None:
        """To be called about every second."""
        self._pace.note()
        now = time.monotonic()
        self._counts.append((now, self._open))
        while self._counts[0][0] < now - self._settings.growth_seconds:
            self._counts.popleft()
        self._learn(now)
        if self._open:
            await self._load.ask()
        else:  # nobody is served, and the services are left alone
            self._load.forget()

    def _learn(self, now: float) -> None:
        """Remembers how many were too many: the most that were inside when it was measured.

        Who is being refused counts as open for a moment, and not in two notes in a row.
        """
        recent = [count for at, count in self._counts if at >= now - self._settings.seconds]
        inside = max(map(min, recent, recent[1:]), default=0)
        if inside > self._settings.always and self._strain().share > 1:
            self._too_many, self._until = inside, now + self._settings.lesson_seconds

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

    def admit(self) -> None:
        """For a new session, within its connection. Raises RESOURCE_EXHAUSTED where those inside come first."""
        inside, strain = self._open - 1, self._strain()
        self._check(inside, strain)
        if inside + 1 >= self._too_many > self._settings.always and time.monotonic() < self._until:
            raise self._refuse("lesson", f"{inside} sessions are open, and {self._too_many} were too many")
        before = min((count for _, count in self._counts), default=0)
        growth = self._settings.growth * max(0.0, 1.0 - strain.share)
        room = max(self._load.slots // 4, round(before * (1 + growth)))
        if self._settings.growth and inside >= room:
            raise self._refuse("growth", f"{inside} sessions are open, and the load leaves room for no more")

    def check_load(self) -> None:
        """For a request outside of any session. Raises RESOURCE_EXHAUSTED where those inside come first."""
        self._check(self._open, self._strain())

    def _check(self, inside: int, strain: Strain) -> None:
        if inside >= self._settings.always and strain.share > 1:
            raise self._refuse(strain.limit, strain.reason)

    def _strain(self) -> Strain:
        """Of what is nearest to its limit."""
        settings = self._settings
        late = self._pace.late_share() / settings.late_share if settings.late_share < 1 else 0.0
        (slow, factor), (full, wait) = self._load.slowest(), self._load.fullest()
        slow_reason = f"the {slow} service takes {factor:.2f} s for each second of speech"
        late_reason = "the answers of running sessions do not keep real time"
        return max(
            Strain(late, "late_audio", late_reason),
            Strain(_share(factor, settings.real_time_factor), "real_time_factor", slow_reason),
            Strain(_share(wait, settings.queue_seconds), "queue", f"work waits {wait:.2f} s for the {full} service"),
        )

    def _refuse(self, limit: str, reason: str) -> ServiceError:
        metrics.REFUSED.labels("gateway", limit).inc()
        return ServiceError.busy(reason, self._settings.retry_seconds)

    def _count(self, change: int) -> None:
        self._open += change
        metrics.CONNECTIONS.set(self._open)

    async def _watch(self) -> None:
        while True:
            await asyncio.gather(self.note(), asyncio.sleep(NOTE_SECONDS))


def _share(value: float, most: float) -> float:
    """`most` 0: there is no limit."""
    return value / most if most else 0.0
