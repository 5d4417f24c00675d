"""The microphone of the benchmarks: chunks come when they have been spoken, and noise around what is said."""

from __future__ import annotations

import asyncio
import contextlib
import time

import numpy as np
import pytest

from benchmarks.microphone import NOISE_LEVEL, Microphone

RATE = 8_000  # Hz: a chunk has 320 samples


class Sent:
    def __init__(self) -> None:
        self.audio = np.zeros(0, "<i2")
        self.at: list[float] = []

    async def take(self, audio: bytes) -> None:
        self.audio = np.concatenate([self.audio, np.frombuffer(audio, "<i2")])
        self.at.append(time.monotonic())


async def test_what_is_said_begins_with_the_next_chunk_and_noise_follows_it():
    sent, speech = Sent(), np.full(400, 1000, "<i2")
    microphone = Microphone(0, RATE, sent.take)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.2):
            running = asyncio.create_task(microphone.run())
            while not sent.at:
                await asyncio.sleep(0.001)
            first = microphone.say(speech)
            assert first - sent.at[0] < 0.01
            await running
    spoken = np.flatnonzero(sent.audio == 1000)
    assert spoken[0] % 320 == 0 and len(spoken) == 400
    assert np.abs(np.delete(sent.audio, spoken)).max() <= NOISE_LEVEL


async def test_what_is_spoken_alone_ends_with_its_last_sample():
    sent, speech = Sent(), np.arange(1, 501, dtype="<i2")
    microphone, began = Microphone(0, RATE, sent.take), time.monotonic()
    await microphone.speak(speech, began)
    np.testing.assert_array_equal(sent.audio, speech)
    assert len(sent.at) == 2 and sent.at[0] >= began + 0.04
    assert time.monotonic() - began == pytest.approx(500 / RATE, abs=0.05)
    assert sent.at[1] >= began + 500 / RATE
