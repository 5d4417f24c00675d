"""What clients make this process hold: pictures, audio, bodies of requests. Bounded for each of them, and in all.

It is measured, not counted: nothing has to be given back, so nothing can be forgotten. The sum is measured anew every
half second; in between, what was let in is added to it. Copies that are on their way to a service come on top.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from services.gateway.settings import ServerSettings
from services.rpc.errors import ServiceError
from services.telemetry import metrics

MIB = 1 << 20
MEASURE_SECONDS = 0.5
RETRY_SECONDS = 2.0


class MemoryBudget:
    """One a process."""

    def __init__(self, settings: ServerSettings):
        self._most, self._most_each = settings.max_held_mb * MIB, settings.max_held_mb_each * MIB
        self._holders: set[Holder] = set()
        self._sum, self._measured_at = 0, 0.0

    def holder(self, measure: Callable[[], int]) -> Holder:
        """For one connection or request. `measure`: the bytes that it holds now."""
        holder = Holder(self, measure)
        self._holders.add(holder)
        return holder

    def check(self, holder: Holder, more: int) -> None:
        """As `Holder.check`."""
        if (held := holder.measure() + more) > self._most_each:
            what = f"{held / MIB:.0f} MiB of pictures, audio and text wait in this connection"
            metrics.REFUSED.labels("gateway", "max_held_mb_each").inc()
            raise ServiceError.too_much(f"{what}; it may hold {self._most_each / MIB:.0f}: send smaller ones, or fewer")
        now = time.monotonic()
        if now - self._measured_at > MEASURE_SECONDS:
            self._sum, self._measured_at = sum(each.measure() for each in self._holders), now
        if self._sum + more > self._most:
            metrics.REFUSED.labels("gateway", "max_held_mb").inc()
            raise ServiceError.busy("this gateway holds as much for its clients as it may", RETRY_SECONDS)
        self._sum += more

    def remove(self, holder: Holder) -> None:
        self._holders.discard(holder)


class Holder:
    """One that makes the process hold something. `close` it at the end."""

    def __init__(self, budget: MemoryBudget, measure: Callable[[], int]):
        self._budget, self.measure = budget, measure

    def check(self, more: int) -> None:
        """Before so many bytes more are held. Raises RESOURCE_EXHAUSTED."""
        self._budget.check(self, more)

    def close(self) -> None:
        self._budget.remove(self)
