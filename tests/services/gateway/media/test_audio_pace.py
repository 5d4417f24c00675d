"""How fast a client's audio is taken."""

from __future__ import annotations

import time

import pytest

from services.gateway.media import audio_pace
from services.gateway.media.audio_pace import AudioPace
from services.gateway.settings import MediaSettings


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """[now, seconds slept], on a clock that only sleeping moves."""
    clock = [time.monotonic(), 0.0]

    async def sleep(seconds: float) -> None:
        clock[0] += seconds
        clock[1] += seconds

    monkeypatch.setattr(audio_pace.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(audio_pace.asyncio, "sleep", sleep)
    return clock


async def test_audio_at_its_own_pace_never_waits(clock):
    pace = AudioPace(MediaSettings(audio_burst_seconds=1))
    for _ in range(1000):
        await pace.wait(0.1)
        clock[0] += 0.1
    assert clock[1] == 0


async def test_what_comes_faster_waits_once_the_burst_is_used_up(clock):
    pace = AudioPace(MediaSettings(audio_burst_seconds=10, max_audio_rate=2))
    for _ in range(100):
        await pace.wait(0.1)
    assert clock[1] == 0
    for _ in range(200):  # 20 s of audio
        await pace.wait(0.1)
    assert clock[1] == pytest.approx(10)
    clock[0] += 5  # in which all of the burst is there again
    await pace.wait(10)
    assert clock[1] == pytest.approx(10)
