"""A flood of one kind of warning is cut short and counted; other lines are not touched."""

from __future__ import annotations

import logging

from services.telemetry.repeat_limit import MAX_KINDS, MOST, SECONDS, RepeatLimit


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def record(msg, level: int = logging.WARNING) -> logging.LogRecord:
    return logging.makeLogRecord({"name": "a", "levelno": level, "msg": msg})


def refused(**fields) -> logging.LogRecord:
    return record({"event": "call failed", "code": "INVALID_ARGUMENT", **fields})


def test_a_flood_is_cut_short_and_counted():
    clock = Clock()
    limit = RepeatLimit(clock)
    passed = [limit.filter(refused(message=str(number))) for number in range(MOST + 30)]
    assert passed == [True] * MOST + [False] * 30
    clock.now = SECONDS
    first, second = refused(), refused()
    assert limit.filter(first) and limit.filter(second)
    assert (first.left_out, second.left_out) == (30, 0)


def test_other_kinds_and_errors_pass():
    limit = RepeatLimit(Clock())
    for _ in range(MOST + 1):
        cut = limit.filter(refused())
    assert not cut
    assert limit.filter(refused(code="UNAVAILABLE")) and limit.filter(record("a text of a library"))
    assert all(limit.filter(record({"event": "broke"}, logging.ERROR)) for _ in range(2 * MOST))
    assert all(limit.filter(refused(exception="Traceback …")) for _ in range(2 * MOST))


def test_kinds_are_bounded():
    limit = RepeatLimit(Clock())
    assert all(limit.filter(record(f"text {number}")) for number in range(3 * MAX_KINDS))
    assert len(limit._windows) <= MAX_KINDS
