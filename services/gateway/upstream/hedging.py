"""A call that hangs is made a second time beside the first (hedging): whichever answers first counts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def hedged(call: Callable[[], Awaitable[T]], seconds: float) -> T:
    """The answer of `call`, or of a second one that begins where the first has neither answered nor failed after
    `seconds`. If one fails the other is waited for. Raises what the last one raises; cancels what is left."""
    running = {asyncio.ensure_future(call())}
    try:
        done, _ = await asyncio.wait(running, timeout=seconds)
        if not done:
            running.add(asyncio.ensure_future(call()))
        while True:
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            answered = [task for task in done if task.exception() is None]
            if answered or not running:
                return next(iter(answered or done)).result()
    finally:
        for task in running:
            task.cancel()
