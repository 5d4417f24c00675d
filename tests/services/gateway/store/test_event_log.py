"""Events of a session: kept in order for some seconds, written by the newest connection only, read by any gateway."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from services.gateway.events import AudioDelta, Event, TextDelta, TurnDone, Usage
from services.gateway.events.session import SessionConfig
from services.gateway.store import event_log
from services.gateway.store.keys import key
from services.rpc.errors import ServiceError


@pytest.fixture
async def log(make_store):
    return make_store().events


@pytest.fixture
async def session_id(make_store) -> str:
    return (await make_store().sessions.create(SessionConfig())).id


def deltas(*sequences: int) -> list[Event]:
    return [Event(TextDelta(f"text {sequence}"), "turn", sequence=sequence) for sequence in sequences]


async def assert_gone(log, session_id: str, after: int) -> None:
    with pytest.raises(ServiceError, match=f"after {after} cannot be resumed") as caught:
        await log.read(session_id, after)
    assert caught.value.code == grpc.StatusCode.OUT_OF_RANGE


async def test_events_are_read_as_they_were_written_by_another_gateway(make_store, session_id):
    here, there = make_store().events, make_store().events
    events = [
        Event(TextDelta("grüezi"), "turn", "question", 1),
        Event(AudioDelta(bytes(range(256)), 24_000, 480), "turn", sequence=2),
        Event(TurnDone("stop", usage=Usage(answer_tokens=3)), "turn", sequence=3),
    ]
    epoch, last = await here.begin(session_id)
    assert last == 0
    assert await here.append(session_id, epoch, events[:2]) and await here.append(session_id, epoch, events[2:])
    assert await there.read(session_id, 0) == events
    assert await there.read(session_id, 2) == events[2:]
    assert await there.read(session_id, 3) == []


async def test_a_newer_connection_takes_over_and_the_older_writes_nothing(make_store, session_id):
    here, there = make_store().events, make_store().events
    old, _ = await here.begin(session_id)
    await here.append(session_id, old, deltas(1, 2))
    new, last = await there.begin(session_id)
    assert new > old and last == 2 + event_log.GAP  # the older one may have delivered what it did not log
    assert not await here.append(session_id, old, deltas(3))
    assert await there.append(session_id, new, deltas(last + 1))
    assert not await here.append(session_id, old, deltas(4))
    for after, rest in (
        (0, (1, 2, last + 1)),
        (1, (2, last + 1)),
        (2, (last + 1,)),
        (7, (last + 1,)),
        (last, (last + 1,)),
    ):
        assert await there.read(session_id, after) == deltas(*rest)
    assert await there.read(session_id, last + 1) == []


async def test_numbers_that_were_delivered_and_not_logged_are_not_used_again(log, session_id):
    starts = [(await log.begin(session_id))[1] for _ in range(3)]
    assert starts == [0, event_log.GAP, 2 * event_log.GAP]


async def test_numbers_go_on_without_a_gap_behind_a_connection_that_logs_ahead(make_store, session_id):
    here, there = make_store().events, make_store().events
    old, _ = await here.begin(session_id, ahead=True)
    await here.append(session_id, old, deltas(1, 2))
    new, last = await there.begin(session_id)
    assert last == 2 and not await here.append(session_id, old, deltas(3))
    await there.append(session_id, new, deltas(3))
    assert await there.read(session_id, 1) == deltas(2, 3)
    newest, last = await here.begin(session_id, ahead=True)
    assert last == 3 + event_log.GAP  # the one before did not log ahead
    await here.append(session_id, newest, deltas(last + 1))
    assert await here.read(session_id, 2) == deltas(3, last + 1)


async def test_running_turns_change_with_the_log_and_are_fenced_with_it(make_store, session_id):
    store = make_store()
    log, turns = store.events, store.running_turns
    epoch, _ = await log.begin(session_id, ahead=True)
    assert await log.append(session_id, epoch, deltas(1), {"told:a": b"\0\xff", "asked:a": b"q"})
    assert await log.append(session_id, epoch, [], {"told:b": b"1"})
    assert await turns.fields(session_id) == {"told:a": b"\0\xff", "asked:a": b"q", "told:b": b"1"}
    assert await log.append(session_id, epoch, deltas(2, 3), {"told:a": b"2", "asked:a": b""})
    await log.begin(session_id)
    assert not await log.append(session_id, epoch, [], {"told:b": b""})
    assert await turns.fields(session_id) == {"told:a": b"2", "told:b": b"1"}
    assert await log.read(session_id, 0) == deltas(1, 2, 3)
    assert await turns.fields("no session") == {}


async def test_an_append_that_is_sent_twice_writes_once(log, session_id):
    epoch, _ = await log.begin(session_id)
    for _ in range(2):
        assert await log.append(session_id, epoch, deltas(1, 2))
    assert await log.append(session_id, epoch, deltas(2, 3))
    assert await log.read(session_id, 0) == deltas(1, 2, 3)


async def test_old_entries_are_trimmed_and_their_absence_is_told(make_store, session_id, redis):
    log = make_store(resume_seconds=0.5).events
    epoch, _ = await log.begin(session_id)
    await log.append(session_id, epoch, deltas(1, 2))
    await asyncio.sleep(0.3)
    await log.append(session_id, epoch, deltas(3))
    await asyncio.sleep(0.3)
    await log.append(session_id, epoch, deltas(4))
    assert await redis.xlen(key(session_id, "events")) == 2
    assert await log.read(session_id, 2) == deltas(3, 4)
    await assert_gone(log, session_id, 1)


async def test_sequences_go_on_after_a_pause_in_which_the_events_expired(make_store, session_id, redis):
    log = make_store(resume_seconds=0.2).events
    epoch, _ = await log.begin(session_id)
    await log.append(session_id, epoch, deltas(1, 2))
    await asyncio.sleep(0.3)
    assert not await redis.exists(key(session_id, "events"))
    await assert_gone(log, session_id, 1)
    assert await log.read(session_id, 2) == []
    epoch, last = await log.begin(session_id)
    assert last == 2 + event_log.GAP
    assert await log.append(session_id, epoch, deltas(last + 1))
    assert await log.read(session_id, 2) == deltas(last + 1)


async def test_events_that_were_never_sent_cannot_be_resumed(log, session_id):
    await assert_gone(log, session_id, 1)
    epoch, _ = await log.begin(session_id)
    await log.append(session_id, epoch, deltas(1))
    await assert_gone(log, session_id, 2)


async def test_the_log_is_bounded(log, session_id, redis, monkeypatch):
    monkeypatch.setattr(event_log, "MAX_ENTRIES", 10)
    epoch, _ = await log.begin(session_id)
    for first in range(1, 40, 4):
        await log.append(session_id, epoch, deltas(*range(first, first + 4)))
    assert await redis.xlen(key(session_id, "events")) == 10
    assert await log.read(session_id, 30) == deltas(*range(31, 41))
    await assert_gone(log, session_id, 29)
    with pytest.raises(AssertionError, match="257 events"):
        await log.append(session_id, epoch, deltas(*range(41, 41 + event_log.MAX_APPEND + 1)))


async def test_the_log_is_bounded_in_bytes(log, session_id, redis, monkeypatch):
    monkeypatch.setattr(event_log, "MAX_BYTES", 50_000)
    epoch, _ = await log.begin(session_id)
    for number in range(1, 30):
        await log.append(session_id, epoch, [Event(AudioDelta(bytes(9_000), 24_000, 0), sequence=number)])
    assert await redis.xlen(key(session_id, "events")) == 5
    assert len(await log.read(session_id, 24)) == 5


async def test_a_full_append_fits(log, session_id):
    epoch, _ = await log.begin(session_id)
    events = [Event(AudioDelta(bytes(4096), 24_000, 0), sequence=n) for n in range(1, event_log.MAX_APPEND + 1)]
    assert await log.append(session_id, epoch, events)
    assert await log.read(session_id, 0) == events


async def test_a_log_that_redis_lost_goes_on(log, session_id, redis):
    epoch, _ = await log.begin(session_id)
    await log.append(session_id, epoch, deltas(1, 2))
    await redis.flushall()
    assert await log.append(session_id, epoch, deltas(3))
    assert await log.read(session_id, 2) == deltas(3)
    newer, last = await log.begin(session_id)
    assert (newer > epoch, last) == (True, 3 + event_log.GAP)


async def test_the_keys_expire(make_store, session_id, redis):
    log = make_store(resume_seconds=30, session_seconds=1000).events
    epoch, _ = await log.begin(session_id)
    await log.append(session_id, epoch, deltas(1), {"told:a": b"1"})
    assert 0 < await redis.pttl(key(session_id, "events")) <= 30_000
    for name in ("log", "running"):
        assert 900_000 < await redis.pttl(key(session_id, name)) <= 1_000_000
