"""Counts the audio of each key. Redis is told beside the audio, once for each second of it: nobody waits for that."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass

from services.gateway.access.usage import DAY_SECONDS, Usage
from services.rpc.errors import ServiceError

STEP_SECONDS = 1.0  # of audio that this process alone may know of, for each key


@dataclass
class _Count:
    day: int
    used: float = 0.0  # seconds of audio of the day, as Redis last said
    pending: float = 0.0  # that Redis has not been told
    telling: asyncio.Task | None = None


class AudioMeter:
    def __init__(self, usage: Usage):
        self._usage = usage
        self._counts: dict[str, _Count] = {}  # by key: there are at most `MAX_KEYS`

    def add(self, key_id: str, seconds: float) -> float:
        """→ seconds of audio of this day, as far as this process knows. What Redis cannot be told now it is later."""
        count = self._count(key_id)
        count.pending += seconds
        if count.pending >= STEP_SECONDS and count.telling is None:
            count.telling = asyncio.create_task(self._tell(key_id, count))
        return count.used + count.pending

    async def load(self, key_id: str) -> None:
        """Asks Redis what the key has used. Raises `ServiceError`."""
        count = self._count(key_id)
        count.used = await self._usage.audio_today(key_id)

    async def close(self) -> None:
        """Tells what is left."""
        for key_id, count in self._counts.items():
            if count.telling is not None:
                await asyncio.wait({count.telling})
            if count.pending:
                await self._tell(key_id, count)

    def _count(self, key_id: str) -> _Count:
        day = int(time.time() // DAY_SECONDS)
        count = self._counts.setdefault(key_id, _Count(day))
        if count.day != day:
            count.day, count.used = day, 0.0
        return count

    async def _tell(self, key_id: str, count: _Count) -> None:
        told = count.pending
        with contextlib.suppress(ServiceError):
            count.used = await self._usage.add_audio(key_id, told)
            count.pending -= told
        count.telling = None
