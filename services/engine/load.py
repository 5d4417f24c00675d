"""What an engine says of its load: the signal that its number of replicas follows (`services.ray.scaling`).

The load of a device says little: a GPU that generates for one request is as busy as with sixty. What counts is how
many requests compute, how many wait, and whether the work keeps up with speech.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

WINDOW_SECONDS = 30.0
LATELY_SECONDS = 5.0  # what `Describe` tells callers of
MAX_VALUES = 1024


@dataclass(frozen=True)
class Load:
    """Of one replica, now or as a mean over some seconds."""

    slots: float  # requests that it computes at once; tiles, of the vision encoder
    used: float  # of the slots
    queued: float  # requests that wait for a slot
    real_time_factor: float | None = None  # p95 of the last seconds; above 1 speech is interrupted; None: no work

    def stats(self) -> dict[str, float]:
        """As a replica reports it to Serve; `of` reads it."""
        known = {"slots": self.slots, "slots_used": self.used, "queue_length": self.queued}
        return known if self.real_time_factor is None else {**known, "real_time_factor": self.real_time_factor}

    @classmethod
    def of(cls, stats: Mapping[str, float]) -> Load:
        """Raises `KeyError` where the report is incomplete."""
        factor = stats.get("real_time_factor")
        return cls(stats["slots"], stats["slots_used"], stats["queue_length"], factor)


class RecentValues:
    """What was measured in the last `WINDOW_SECONDS`. The engine's thread observes, any other may read."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._values: deque[tuple[float, float]] = deque(maxlen=MAX_VALUES)  # (when, value)
        self._lock = threading.Lock()

    def observe(self, value: float) -> None:
        with self._lock:
            self._values.append((self._clock(), value))

    def p95(self, seconds: float = WINDOW_SECONDS) -> float | None:
        """Of the last seconds; None where there was nothing."""
        oldest = self._clock() - seconds
        with self._lock:
            recent = sorted(value for when, value in self._values if when >= oldest)
        return recent[math.ceil(0.95 * len(recent)) - 1] if recent else None


class BusyTime:
    """The share of the last `WINDOW_SECONDS` in which an engine computed. The engine's thread adds, any other may read.

    It says how full an engine is whose work comes in pieces that are done at once. Where requests go on for long, it
    says nothing: a step for one takes about as long as a step for many.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._began = clock()
        self._steps: deque[tuple[float, float]] = deque()  # (end, seconds), of the last `WINDOW_SECONDS`
        self._lock = threading.Lock()

    def add(self, seconds: float) -> None:
        with self._lock:
            self._steps.append((self._clock(), seconds))
            self._forget()

    def share(self) -> float:
        with self._lock:
            self._forget()
            past = min(max(self._clock() - self._began, 1.0), WINDOW_SECONDS)
            return min(sum(seconds for _, seconds in self._steps) / past, 1.0)

    def _forget(self) -> None:
        while self._steps and self._steps[0][0] < self._clock() - WINDOW_SECONDS:
            self._steps.popleft()
