"""What an answer has to tell, held until it is sure that the answer is given."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from services.gateway.events import AudioDelta, Body

MAX_HELD = 64  # events; then the answer waits


class HeldEvents:
    """Of one answer. `flush` must run beside it."""

    def __init__(self, emit: Callable[[Body], Awaitable[None]]):
        """`emit` may wait for a slow client."""
        self._emit = emit
        self._held: deque[Body] = deque()
        self._telling = asyncio.Lock()
        self._released = asyncio.Event()

    @property
    def released(self) -> bool:
        return self._released.is_set()

    def release(self) -> None:
        self._released.set()

    async def flush(self) -> None:
        """Returns when what was held until the release has been told."""
        await self._released.wait()
        await self._tell()

    async def put(self, body: Body) -> None:
        """Tells it behind what is held. Audio beyond the first is computed only once it is sure to be heard."""
        full = len(self._held) >= MAX_HELD or self._has_audio
        self._held.append(body)
        if self.released or full:
            await self.flush()

    @property
    def _has_audio(self) -> bool:
        return any(isinstance(body, AudioDelta) for body in self._held)

    async def _tell(self) -> None:
        async with self._telling:
            while self._held:
                await self._emit(self._held[0])
                self._held.popleft()
