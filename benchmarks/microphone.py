"""A microphone in real time: a chunk is sent once its last sample has been there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import numpy as np

CHUNK_SECONDS = 0.04  # that are sent at once
NOISE_LEVEL = 20  # of 32767, while nothing is said


def noise(samples: int, seed: int) -> np.ndarray:
    """What a microphone hears while nothing is said: int16 [samples]."""
    return np.random.default_rng(seed).integers(-NOISE_LEVEL, NOISE_LEVEL + 1, samples).astype("<i2")


class Microphone:
    """An open one (`run`) sends a faint noise, and what is said (`say`); else only what is spoken into it (`speak`)."""

    def __init__(self, seed: int, rate: int, send: Callable[[bytes], Awaitable[None]]):
        """`rate`: Hz. `send`: takes 16-bit little-endian samples."""
        self._rate, self._send = rate, send
        self._chunk = round(CHUNK_SECONDS * rate)
        self._noise = noise(rate, seed)
        self._speech = np.zeros(0, "<i2")
        self._began = time.monotonic()
        self._sent = 0  # samples
        self.late = 0.0  # seconds, the most that a chunk was sent too late

    def say(self, audio: np.ndarray) -> float:
        """→ when its first sample is spoken. What was being said ends."""
        self._speech = audio
        return self._began + self._sent / self._rate

    async def run(self) -> None:
        self._began, self._sent = time.monotonic(), 0
        while True:
            await self._wait(self._began + (self._sent + self._chunk) / self._rate)
            await self._send(self._next().tobytes())

    async def speak(self, audio: np.ndarray, began: float) -> None:
        """Sends this alone, as it is spoken from `began` on (`time.monotonic()`); returns with its last sample."""
        for at in range(0, len(audio), self._chunk):
            piece = audio[at : at + self._chunk]
            await self._wait(began + (at + len(piece)) / self._rate)
            await self._send(piece.tobytes())

    async def _wait(self, due: float) -> None:
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        self.late = max(self.late, time.monotonic() - due)

    def _next(self) -> np.ndarray:
        at = self._sent % (self._rate - self._chunk)
        chunk, spoken = self._noise[at : at + self._chunk].copy(), self._speech[: self._chunk]
        chunk[: len(spoken)] = spoken
        self._speech, self._sent = self._speech[self._chunk :], self._sent + self._chunk
        return chunk
