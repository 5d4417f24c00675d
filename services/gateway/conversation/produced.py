"""What a task produces, as a generator: closing it cancels the task."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")

MAX_WAITING = 64  # that a slow reader may leave before the task waits too


async def produced(
    produce: Callable[[asyncio.Queue[T]], Awaitable[Any]], limit: int = MAX_WAITING
) -> AsyncGenerator[T, None]:
    """`produce(queue)` runs as a task. Raises what it raises, after all that it has put into the queue.

    `limit`: of what waits for a slow reader; 0: none.
    """
    queue: asyncio.Queue[T] = asyncio.Queue(limit)
    working = asyncio.ensure_future(produce(queue))
    getting = asyncio.ensure_future(queue.get())
    try:
        while True:
            await asyncio.wait({getting, working}, return_when=asyncio.FIRST_COMPLETED)
            if not getting.done():
                break
            yield getting.result()
            getting = asyncio.ensure_future(queue.get())
        getting.cancel()  # before it has taken anything
        while not queue.empty():
            yield queue.get_nowait()
        await working
    finally:
        working.cancel()
        getting.cancel()
        await asyncio.wait({working, getting})
