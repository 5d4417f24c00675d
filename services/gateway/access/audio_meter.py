"""Counts the audio of each key. Redis is told once a second of audio, not for each chunk."""

from __future__ import annotations

import time
from dataclasses import dataclass

from services.gateway.access.usage import DAY_SECONDS, Usage
from services.rpc.errors import ServiceError

STEP_SECONDS = 1.0  # of audio that this process alone may know of, for each key


@dataclass
class _Count:
    day: int
    used: float = 0.0  # seconds of audio of the day, when Redis was last told
    pending: float = 0.0


class AudioMeter:
    def __init__(self, usage: Usage):
        self._usage = usage
        self._counts: dict[str, _Count] = {}  # by key: there are at most `MAX_KEYS`

    async def add(self, key_id: str, seconds: float) -> float:
        """→ seconds of audio of this day. While Redis is out of reach they are kept, and nobody is disturbed."""
        count, day = self._counts.setdefault(key_id, _Count(0)), int(time.time() // DAY_SECONDS)
        if count.day != day:
            count.day, count.used = day, 0.0
        count.pending += seconds
        if count.pending >= STEP_SECONDS or not count.used:
            told, count.pending = count.pending, 0.0
            try:
                count.used = await self._usage.add_audio(key_id, told)
            except ServiceError:
                count.pending += told
        return count.used + count.pending
