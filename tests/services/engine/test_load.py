"""What engines say of their load: the report that Serve carries, and the real-time factor of the last seconds."""

import math
import random

import pytest

from services.engine.load import MAX_VALUES, WINDOW_SECONDS, BusyTime, Load, RecentValues


@pytest.mark.parametrize("load", [Load(16, 3, 2, 0.4), Load(16, 0, 0, None), Load(16, 0, 0, 0.0)])
def test_a_report_is_read_as_it_was_written(load):
    stats = load.stats()
    assert Load.of(stats) == load
    assert all(isinstance(value, int | float) for value in stats.values())  # Serve takes nothing else


def test_an_incomplete_report_is_no_load():
    with pytest.raises(KeyError):
        Load.of({"slots": 16, "queue_length": 0})


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_the_p95_is_of_the_last_seconds():
    clock = Clock()
    factors = RecentValues(clock)
    assert factors.p95() is None
    factors.observe(9.0)
    clock.now += WINDOW_SECONDS / 2
    values = [random.Random(1).random() for _ in range(50)]
    for value in values:
        factors.observe(value)
    assert factors.p95() == sorted([*values, 9.0])[math.ceil(0.95 * 51) - 1]
    assert factors.p95(WINDOW_SECONDS / 4) == sorted(values)[math.ceil(0.95 * 50) - 1]
    clock.now += WINDOW_SECONDS / 2 + 0.1  # the 9.0 is too old
    assert factors.p95() == sorted(values)[math.ceil(0.95 * 50) - 1]
    clock.now += WINDOW_SECONDS
    assert factors.p95() is None


def test_what_is_kept_is_bounded():
    factors = RecentValues()
    for value in range(MAX_VALUES + 10):
        factors.observe(value)
    assert len(factors._values) == MAX_VALUES


def test_the_busy_share_is_of_the_last_seconds():
    clock = Clock()
    busy = BusyTime(clock)
    assert busy.share() == 0.0
    clock.now += 10.0
    busy.add(4.0)
    assert busy.share() == pytest.approx(0.4)
    clock.now += WINDOW_SECONDS - 10.0
    busy.add(2.0)
    assert busy.share() == pytest.approx(6.0 / WINDOW_SECONDS)
    clock.now += 15.0  # the first is too old
    assert busy.share() == pytest.approx(2.0 / WINDOW_SECONDS)
    busy.add(100.0)
    assert busy.share() == 1.0
