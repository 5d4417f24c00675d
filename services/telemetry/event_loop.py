"""Measures how late the event loop of a process is: an overloaded or blocked one delays every stream in it."""

from __future__ import annotations

import asyncio

from services.telemetry import metrics

PERIOD = 0.5  # seconds between two measurements


def watch(service: str) -> asyncio.Task:
    """Measures the running loop until the task is cancelled, or the loop ends. The caller keeps the task."""
    return asyncio.create_task(_measure(metrics.EVENT_LOOP_LAG.labels(service)))


async def _measure(histogram) -> None:
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + PERIOD
        await asyncio.sleep(PERIOD)
        histogram.observe(max(0.0, loop.time() - due))
