"""Items of a session: their order, who may write them, how far they were played, how many are kept."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from services.gateway.events.items import Item, ItemPart
from services.gateway.events.session import SessionConfig
from services.gateway.store.keys import SESSION, key
from services.gateway.store.protocols import Lease
from services.rpc.errors import ServiceError


def item(item_id: str, role: str = "user", **more) -> Item:
    return Item(id=item_id, role=role, parts=[ItemPart(kind="text", text=f"text of {item_id}")], **more)


def answer(item_id: str) -> Item:
    return item(item_id, "assistant", marks=[(1000, 9)])


async def ids(store, session_id: str) -> list[str]:
    return [kept.id for kept in await store.items.list(session_id)]


async def append(store, session_id: str, *items: Item) -> None:
    async with store.leases.lease(session_id) as lease:
        await store.items.append(lease, items)


@pytest.fixture
async def store(make_store):
    return make_store()


@pytest.fixture
async def session_id(store) -> str:
    return (await store.sessions.create(SessionConfig(), owner="key")).id


def assert_refused(caught, code: grpc.StatusCode, word: str) -> None:
    assert caught.value.code == code and word in caught.value.message


async def test_what_one_gateway_appends_another_lists_and_gets(make_store, session_id):
    here, there = make_store(), make_store()
    call = Item(id="c", type="function_call", call_id="1", name="clock", arguments='{"zone": "Zürich", "list": []}')
    await append(here, session_id, item("q", turn_id="t"), answer("a"))
    await append(here, session_id, call)
    assert await there.items.list(session_id) == [item("q", turn_id="t"), answer("a"), call]
    assert await there.items.get(session_id, "c") == call
    with pytest.raises(ServiceError) as caught:
        await there.items.get(session_id, "z")
    assert_refused(caught, grpc.StatusCode.NOT_FOUND, "z")


async def test_items_that_are_appended_again_stand_there_once(store, session_id):
    await append(store, session_id, item("q"), item("a"))
    await append(store, session_id, item("q"), item("a"))
    assert await ids(store, session_id) == ["q", "a"]


async def test_only_the_holder_of_the_lease_appends(store, session_id):
    stranger = Lease(session_id, "token of another", asyncio.Event())
    async with store.leases.lease(session_id):
        with pytest.raises(ServiceError, match="took over this session while the turn ran") as caught:
            await store.items.append(stranger, [item("q")])
    assert caught.value.code == grpc.StatusCode.ABORTED
    assert await ids(store, session_id) == []


async def test_who_adds_items_learns_what_stands_before_them(store, session_id):
    async with store.leases.lease(session_id) as lease:
        assert await store.items.append(lease, [item("q"), item("a")]) == ""
        assert await store.items.append(lease, [item("q2"), item("a2")]) == "a"
        assert await store.items.append(lease, [item("q2"), item("a2")]) == "a"  # sent twice
    assert await store.items.insert(session_id, item("last")) == "a2"
    assert await store.items.insert(session_id, item("second"), "q") == "q"


async def test_an_item_is_inserted_behind_another_or_at_the_end(store, session_id):
    await store.items.insert(session_id, item("a"))
    await store.items.insert(session_id, item("c"))
    await store.items.insert(session_id, item("b"), previous_item_id="a")
    assert await ids(store, session_id) == ["a", "b", "c"]


async def test_an_item_that_cannot_be_inserted_changes_nothing(store, session_id):
    await store.items.insert(session_id, item("a"))
    with pytest.raises(ServiceError) as caught:
        await store.items.insert(session_id, item("a", "assistant"))
    assert_refused(caught, grpc.StatusCode.ALREADY_EXISTS, "another id")
    with pytest.raises(ServiceError) as caught:
        await store.items.insert(session_id, item("b"), previous_item_id="z")
    assert_refused(caught, grpc.StatusCode.NOT_FOUND, "z")
    assert await store.items.list(session_id) == [item("a")]


async def test_a_deleted_item_is_gone(store, session_id):
    await append(store, session_id, item("a"), answer("b"), item("c"))
    await store.items.set_played(session_id, "b", 5)
    await store.items.delete(session_id, "b")
    assert await ids(store, session_id) == ["a", "c"]
    with pytest.raises(ServiceError) as caught:
        await store.items.delete(session_id, "b")
    assert_refused(caught, grpc.StatusCode.NOT_FOUND, "b")
    await append(store, session_id, answer("b"))
    assert (await store.items.get(session_id, "b")).played is None


async def test_a_spoken_answer_is_truncated(store, session_id):
    await append(store, session_id, item("q"), answer("a"), item("written", "assistant"))
    for samples in (700, 500, 600):
        await store.items.truncate(session_id, "a", samples)
        assert [kept.played for kept in await store.items.list(session_id)] == [None, samples, None]
    for item_id, samples in (("q", 1), ("written", 1), ("a", -1)):
        with pytest.raises(ServiceError) as caught:
            await store.items.truncate(session_id, item_id, samples)
        assert caught.value.code == grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(ServiceError) as caught:
        await store.items.truncate(session_id, "z", 1)
    assert_refused(caught, grpc.StatusCode.NOT_FOUND, "z")
    assert (await store.items.get(session_id, "a")).played == 600


async def test_how_far_an_answer_was_played_is_reported_before_or_after_it_is_kept(store, session_id):
    await store.items.set_played(session_id, "early", 300)
    assert await ids(store, session_id) == []
    await append(store, session_id, answer("early"), answer("late"))
    await store.items.set_played(session_id, "late", 500)
    assert [kept.played for kept in await store.items.list(session_id)] == [300, 500]


async def test_nobody_has_played_more_than_was_sent(store, session_id):
    await append(store, session_id, answer("a"))
    sent = (await store.items.get(session_id, "a")).marks[-1][0]
    await store.items.set_played(session_id, "a", 2**62)
    assert (await store.items.get(session_id, "a")).played == sent


async def test_only_the_newest_items_and_their_reports_are_kept(make_store, session_id, redis):
    store = make_store(max_items=4)
    for number in range(5):
        await append(store, session_id, item(f"q{number}"), answer(f"a{number}"))
        await store.items.set_played(session_id, f"a{number}", number)
    assert await ids(store, session_id) == ["q3", "a3", "q4", "a4"]
    assert await redis.hgetall(key(session_id, "played")) == {b"a3": b"3", b"a4": b"4"}
    for item_id in ("new", "newer"):
        await store.items.insert(session_id, item(item_id))
    assert await ids(store, session_id) == ["q4", "a4", "new", "newer"]
    assert await redis.hgetall(key(session_id, "played")) == {b"a4": b"4"}
    assert await redis.hlen(key(session_id, "items")) == 4


async def test_reports_without_an_item_are_bounded(make_store, session_id, redis):
    store = make_store(max_items=4)
    await append(store, session_id, answer("a"), answer("b"))
    for item_id in ("a", *(f"z{number}" for number in range(20)), "b"):
        await store.items.set_played(session_id, item_id, 7)
        assert await redis.hlen(key(session_id, "played")) <= 4
    assert [kept.played for kept in await store.items.list(session_id)] == [7, 7]


async def test_a_gateway_may_keep_no_items_at_all(make_store, session_id):
    store = make_store(max_items=0)
    await append(store, session_id, item("q"), answer("a"))
    await store.items.set_played(session_id, "a", 1)
    assert await ids(store, session_id) == []


async def test_every_key_of_a_session_expires_and_each_use_prolongs_all(make_store, session_id, redis):
    store = make_store(session_seconds=1000)
    await store.events.begin(session_id)
    async with store.leases.lease(session_id) as lease:
        await store.items.append(lease, [answer("a")])
        await store.items.set_played(session_id, "a", 1)
        names = [name async for name in redis.scan_iter(match=f"*{session_id}*")]
        assert sorted(names) == sorted(key(session_id, name).encode() for name in (*SESSION, "turn", "last"))
        assert all([await redis.pttl(name) > 0 for name in names])
    uses = [
        lambda: store.sessions.open(session_id, "key"),
        lambda: store.sessions.update(session_id, SessionConfig()),
        lambda: store.items.list(session_id),
        lambda: store.items.get(session_id, "a"),
        lambda: store.items.insert(session_id, item("b")),
        lambda: store.items.truncate(session_id, "a", 1),
        lambda: store.items.delete(session_id, "b"),
        lambda: append(store, session_id, item("c")),
    ]
    for use in uses:
        for name in SESSION:
            await redis.pexpire(key(session_id, name), 10_000)
        await use()
        assert all([await redis.pttl(key(session_id, name)) > 900_000 for name in SESSION])
