"""Whether answers keep real time, from the counters that operators see too."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass

from prometheus_client.metrics import MetricWrapperBase

from services.telemetry import metrics

FEW_ANSWERS = 10


@dataclass(frozen=True)
class _Counts:
    at: float  # `time.monotonic()`
    late: float
    all: float


class Pace:
    """The share of answers in the last seconds that were late. `note` must be called about every second."""

    def __init__(self, seconds: float):
        self._seconds = seconds
        self._noted: deque[_Counts] = deque()

    def note(self) -> None:
        now = time.monotonic()
        while len(self._noted) > 1 and self._noted[1].at <= now - self._seconds:
            self._noted.popleft()
        self._noted.append(_count(now))

    def late_share(self) -> float:
        """0 … 1. Of fewer than `FEW_ANSWERS` as if the rest had been in time: one late answer says little."""
        if not self._noted:
            return 0.0
        before, now = self._noted[0], _count(time.monotonic())
        late = now.late - before.late
        return late / max(now.all - before.all, late, FEW_ANSWERS)  # one may be late that began before


def _count(now: float) -> _Counts:
    late = _value(metrics.LATE_ANSWERS, "parley_late_answers_total")
    return _Counts(
        now, late, _value(metrics.FIRST_AUDIO_SECONDS, "parley_first_audio_seconds_count", service="gateway")
    )


def _value(metric: MetricWrapperBase, name: str, **labels: str) -> float:
    (family,) = metric.collect()
    return next((each.value for each in family.samples if each.name == name and each.labels == labels), 0.0)
