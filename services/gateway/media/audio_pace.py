"""How fast a client's audio is taken: some at once, then little faster than it is spoken.

What comes faster waits, and with it all that the client sends after it: its connection is read no further. So a
recording may be sent at once, and a flood costs nobody anything, also one of silence.
"""

from __future__ import annotations

import asyncio
import time

from services.gateway.settings import MediaSettings


class AudioPace:
    """Of one connection."""

    def __init__(self, settings: MediaSettings):
        self._burst, self._rate = settings.audio_burst_seconds, settings.max_audio_rate
        self._ahead = 0.0  # seconds of audio before what `rate` allows
        self._at = time.monotonic()

    async def wait(self, seconds: float) -> None:
        """So much audio has come: returns when it may be used."""
        now = time.monotonic()
        self._ahead = max(0.0, self._ahead - self._rate * (now - self._at)) + seconds
        self._at = now
        if self._ahead > self._burst:
            await asyncio.sleep((self._ahead - self._burst) / self._rate)
