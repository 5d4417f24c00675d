"""Whether answers keep real time, from the histograms that operators see too."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass

from prometheus_client import REGISTRY

from services.telemetry.metrics import LATE_FIRST_AUDIO, LITTLE_LEAD


@dataclass(frozen=True)
class _Counts:
    at: float  # `time.monotonic()`
    late: float
    all: float


class Pace:
    """The share of late audio in the last seconds: pieces that came with hardly anything left to play, and first audio
    that took too long. `note` must be called about every second."""

    def __init__(self, seconds: float):
        self._seconds = seconds
        self._noted: deque[_Counts] = deque()

    def note(self) -> None:
        now = time.monotonic()
        while len(self._noted) > 1 and self._noted[1].at <= now - self._seconds:
            self._noted.popleft()
        self._noted.append(_count(now))

    def late_share(self) -> float:
        """0 … 1; 0 where there was no audio."""
        if not self._noted:
            return 0.0
        before, now = self._noted[0], _count(time.monotonic())
        return (now.late - before.late) / (now.all - before.all) if now.all > before.all else 0.0


def _count(now: float) -> _Counts:
    pieces, behind = _sample("parley_audio_lead_seconds", LITTLE_LEAD)
    answers, prompt = _sample("parley_first_audio_seconds", LATE_FIRST_AUDIO, service="gateway")
    return _Counts(now, behind + answers - prompt, pieces + answers)


def _sample(name: str, limit: float, **labels: str) -> tuple[float, float]:
    """(how often a histogram has counted, how often a value up to `limit`, one of its buckets)."""
    count = REGISTRY.get_sample_value(f"{name}_count", labels) or 0.0
    return count, REGISTRY.get_sample_value(f"{name}_bucket", {**labels, "le": str(float(limit))}) or 0.0
