"""The same work by several at once, some rounds of it: how an engine's section is timed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from benchmarks.engines import Result
from benchmarks.measuring import percentile

ROUNDS = 3  # timed; the median counts


async def together(serve: Callable[[], Awaitable[None]], size: int) -> tuple[float, list[float]]:
    """(Median seconds that `size` at once take, seconds that each of them took), after a round that warms up."""

    async def timed() -> float:
        started = time.perf_counter()
        await serve()
        return time.perf_counter() - started

    rounds, latencies = [], []
    for turn in range(1 + ROUNDS):
        started = time.perf_counter()
        taken = await asyncio.gather(*(timed() for _ in range(size)))
        if turn:
            rounds.append(time.perf_counter() - started)
            latencies += taken
    return percentile(rounds, 0.5), latencies


def row(engine: str, size: int, rate: float, unit: str, latencies: list[float], of: str, note: str = "") -> Result:
    """A result whose percentiles are of `latencies`, seconds."""
    p50, p95 = (1000 * percentile(latencies, share) for share in (0.5, 0.95))
    return Result(engine, size, rate, unit, p50, p95, of, len(latencies), note)
