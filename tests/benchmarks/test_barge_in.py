"""What the barge-in benchmark counts, and what it plays."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from benchmarks.barge_in import duplex_summary, summary
from benchmarks.barge_in_client import Listener, Player
from benchmarks.clip import Clip
from benchmarks.interruption_clips import KINDS, clips
from protos.parley.v1 import conversation_pb2 as wire
from protos.parley.v1.usage_pb2 import FinishReason

Action = wire.Playback.Action
RATE = 24_000


@pytest.mark.parametrize("kind", KINDS)
def test_clips_are_the_same_each_time_and_differ(kind):
    first, second = islice(clips(kind, 0), 2)
    again = next(clips(kind, 0))
    assert (first.text, first.kind) == (again.text, kind)
    assert abs(first.seconds - again.seconds) < 0.05  # espeak does not speak the same twice, to the sample
    if kind in ("cough", "music"):
        assert np.array_equal(first.audio, again.audio)
    assert not np.array_equal(first.audio, second.audio)
    assert 0 <= first.voiced[0] < first.voiced[1] < len(first.audio) and 0.1 < first.seconds < 8


def test_the_player_stands_still_in_a_pause():
    player = Player(received=RATE, rate=RATE, first=10.0)
    assert player.played(10.5) == RATE // 2
    player.pause(10.5)
    player.pause(10.6)
    assert player.played(12.0) == RATE // 2
    player.resume(12.0)
    assert player.played(12.25) == 0.75 * RATE and player.played(20) == RATE and player.paused == 1.5


def event(turn_id: str, **fields) -> wire.ServerEvent:
    return wire.ServerEvent(turn_id=turn_id, **fields)


def audio(turn_id: str, offset: int) -> wire.ServerEvent:
    return event(turn_id, audio=wire.AudioDelta(audio=bytes(200), sample_rate=RATE, offset=offset))


def heard(*events: tuple[float, wire.ServerEvent]) -> dict:
    """What is reported of these events, with a clip whose sound lasts from 10 to 11 s."""
    listener = Listener(None, Clip("hello", np.zeros(RATE, "<i2"), RATE, (0, RATE - 1), "question"), 0)
    listener.outcome.voiced = (10.0, 11.0)
    for now, each in events:
        listener._take(each, now)
    return listener.outcome.facts()


def test_what_was_taken():
    facts = heard(
        (9.0, audio("old", 0)),
        (10.1, event("old", playback=wire.Playback(action=Action.ACTION_PAUSE))),
        (10.3, event("old", playback=wire.Playback(action=Action.ACTION_STOP))),
        (10.4, event("old", done=wire.TurnDone(finish_reason=FinishReason.FINISH_REASON_CANCELLED))),
        (11.5, audio("new", 0)),
    )
    assert facts["taken"] and facts["late"] == facts["lost"] == 0 and facts["last_audio"] is None
    assert [round(facts[name]) for name in ("held", "decided", "answered")] == [100, 300, 500]
    row = summary("question", [facts], asked=2)
    assert (row["taken"], row["right"], row["failed"]) == (100, 100, 1)
    assert duplex_summary("question", [facts])["takeover_rate"] == 1
    assert round(duplex_summary("question", [facts])["stop_latency_s"], 3) == 0.1


def test_what_was_ignored_late_and_lost():
    facts = heard(
        (9.0, audio("old", 0)),
        (10.1, event("old", playback=wire.Playback(action=Action.ACTION_PAUSE))),
        (10.6, event("old", playback=wire.Playback(action=Action.ACTION_RESUME))),
        (10.7, audio("old", 200)),  # 100 are missing
    )
    assert not facts["taken"] and round(facts["paused"]) == 500 and round(facts["last_audio"]) == 700
    row = summary("cough", [facts], asked=1)
    assert (row["right"], row["lost"], duplex_summary("cough", [facts])["takeover_rate"]) == (100, 1, 0)
    stop = event("old", playback=wire.Playback(action=Action.ACTION_STOP))
    assert heard((9.0, audio("old", 0)), (10.1, stop), (10.2, audio("old", 100)))["late"] == 1
