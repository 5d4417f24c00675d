"""What the overload benchmark counts: answers in real time, refusals, who is inside, recovery; and its picture."""

from __future__ import annotations

import math

import pytest
from PIL import Image

from benchmarks.overload import Times, in_time, mark, missed, recovery, row
from benchmarks.overload_figure import binned, draw, inside


def turn(talker: int, at: float, **facts) -> dict:
    return {"what": "turn", "talker": talker, "at": at, "answered": True, "first_audio": 0.7, "underruns": 0} | facts


def opened(talker: int, at: float) -> dict:
    return {"what": "open", "talker": talker, "at": at}


def refused(talker: int, at: float, seconds: float = 0.02, retry_after: str | None = "5") -> dict:
    return {"what": "refused", "talker": talker, "at": at, "seconds": seconds, "retry_after": retry_after}


def good() -> list[dict]:
    """Two are inside, a third one is refused, and comes when the others have left at 60."""
    turns = [turn(0, at) for at in (5.0, 10.0, 30.0, 40.0)] + [turn(1, at) for at in (6.0, 11.0, 31.0, 41.0)]
    events = [opened(0, 1.0), opened(1, 2.0), *turns, refused(2, 25.0), refused(4, 61.0), opened(4, 66.0)]
    return mark(sorted(events, key=lambda event: event["at"]))


TIMES = Times(20.0, 60.0)


@pytest.mark.parametrize("facts", [{"answered": False}, {"first_audio": 2.1}, {"underruns": 1}])
def test_an_answer_is_late_that_comes_late_runs_dry_or_does_not_come(facts):
    assert in_time(turn(0, 1.0)) and not in_time(turn(0, 1.0, **facts))


def test_a_row_of_an_overload_that_nobody_inside_notices():
    found = row(2, 4, good(), TIMES, (1000.0, 1040.0))
    assert (found["inside"], found["alone"], found["in_time"], found["turns"]) == (3, 1.0, 1.0, 4)
    assert (found["refused"], found["refused_p95"], found["untold"], found["recovery"]) == (2, 20.0, 0, 6.0)
    assert missed(found) == []


@pytest.mark.parametrize(
    ("more", "memory", "word"),
    [
        ([turn(0, 50.0, underruns=1)], 1000.0, "in real time"),
        ([refused(2, 50.0, seconds=0.3)] * 9, 1000.0, "refused after 300 ms"),
        ([refused(2, 50.0, retry_after=None)], 1000.0, "without a time"),
        ([{"what": "turned_away", "talker": 1, "at": 50.0, "message": ""}], 1000.0, "somebody inside"),
        ([{"what": "error", "talker": 1, "at": 50.0, "message": ""}], 1000.0, "somebody inside"),
        ([], 1200.0, "memory grew"),
        ([turn(0, 75.0, first_audio=4.0)], 1000.0, "recovery took 15 s"),
    ],
)
def test_each_aim_can_be_missed(more, memory, word):
    events = mark(good() + more)
    assert any(word in what for what in missed(row(2, 4, events, TIMES, (1000.0, memory))))


def test_an_overload_that_refuses_nobody_is_none():
    calm = [event for event in good() if event["what"] != "refused"]
    assert "nobody was refused" in missed(row(2, 4, calm, TIMES, (1000.0, 1000.0)))


def test_a_newcomer_who_is_never_let_in_is_no_recovery():
    events = [event for event in good() if event != opened(4, 66.0)]
    assert math.isinf(recovery(events, 60.0, 4))


def test_the_picture_is_drawn(tmp_path):
    events = good()
    assert inside(events)[1][-1] == 3
    assert binned(events, 1.0, lambda each: each["what"] == "refused")[1].count(1) == 2
    draw({"rows": [row(2, 4, events, TIMES, (1.0, 1.0))] * 2, "events": [events] * 2}, tmp_path / "overload.png")
    assert Image.open(tmp_path / "overload.png").width == 800
