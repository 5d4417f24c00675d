"""Rounds of the same work by several clients at once: how the section of an engine is timed."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable

from benchmarks.engines import Result
from benchmarks.measuring import percentile

ROUNDS = 3  # timed; the result is their median


async def run_together(work: Callable[[], Awaitable[None]], size: int) -> tuple[float, list[float]]:
    """(Median seconds that `size` at once take, seconds that each of them took), after a round that warms up."""

    async def timed() -> float:
        started = time.perf_counter()
        await work()
        return time.perf_counter() - started

    rounds, latencies = [], []
    for number in range(1 + ROUNDS):
        started = time.perf_counter()
        taken = await asyncio.gather(*(timed() for _ in range(size)))
        if number:
            rounds.append(time.perf_counter() - started)
            latencies += taken
    return percentile(rounds, 0.5), latencies


def engine_seconds(service: str) -> float:
    """CPU time of the thread of a service's engine so far."""
    (thread,) = (thread for thread in threading.enumerate() if thread.name == f"{service}-engine")
    return time.clock_gettime(time.pthread_getcpuclockid(thread.ident))


def result(engine: str, size: int, rate: float, unit: str, latencies: list[float], of: str, note: str = "") -> Result:
    """A result whose percentiles are of `latencies`, in seconds."""
    p50, p95 = (1000 * percentile(latencies, share) for share in (0.5, 0.95))
    return Result(engine, size, rate, unit, p50, p95, of, len(latencies), note)
