"""Sessions are known to every gateway, change their configuration, and expire."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from services.gateway.events.items import Item
from services.gateway.events.session import SessionConfig
from services.gateway.settings import StoreSettings
from services.gateway.store import room
from services.rpc.errors import ServiceError


async def test_a_session_is_known_to_another_gateway(make_store):
    here, there = make_store(), make_store()
    session = await here.sessions.create(SessionConfig(instructions="be brief", speaker="anna"))
    await here.items.insert(session.id, Item(id="a"))
    opened = await there.sessions.open(session.id)
    assert (opened.id, opened.items, opened.config) == (session.id, 1, session.config)


async def test_a_configuration_is_replaced(make_store):
    here, there = make_store(), make_store()
    session = await here.sessions.create(SessionConfig(instructions="be brief", speaker="anna"))
    await here.sessions.update(session.id, SessionConfig(speaker="ben"))
    assert (await there.sessions.open(session.id)).config == SessionConfig(speaker="ben")


async def test_an_unknown_session_says_what_to_do(make_store):
    sessions = make_store().sessions
    for refused in (sessions.open("nobody"), sessions.update("nobody", SessionConfig())):
        with pytest.raises(ServiceError, match="expired 60 min after its last use; send an empty session_id") as caught:
            await refused
        assert caught.value.code == grpc.StatusCode.NOT_FOUND
    with pytest.raises(ServiceError, match="none of ours; send an empty one") as caught:
        await sessions.open("../../etc")
    assert caught.value.code == grpc.StatusCode.INVALID_ARGUMENT


async def test_a_session_expires_after_its_last_use(make_store):
    store = make_store(session_seconds=0.6)
    used, unused = await store.sessions.create(SessionConfig()), await store.sessions.create(SessionConfig())
    for _ in range(3):
        await asyncio.sleep(0.3)
        await store.sessions.open(used.id)
    with pytest.raises(ServiceError, match="no session"):
        await store.sessions.open(unused.id)


async def test_a_configuration_that_is_too_large_is_not_kept(make_store):
    sessions = make_store(max_config_bytes=2000).sessions
    session = await sessions.create(SessionConfig(instructions="x" * 1000))
    for large in (SessionConfig(tool_name="x" * 3000), SessionConfig(client={"session": {"tracing": "x" * 3000}})):
        for refused in (sessions.create(large), sessions.update(session.id, large)):
            with pytest.raises(ServiceError, match="above the limit of 2000") as caught:
                await refused
            assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (await sessions.open(session.id)).config.instructions == "x" * 1000


async def test_no_new_session_is_made_where_there_is_no_room_and_the_others_go_on(make_store, redis, monkeypatch):
    monkeypatch.setattr(room, "ASK_SECONDS", -1)
    sessions = make_store(max_redis_mb=24).sessions
    session = await sessions.create(SessionConfig())
    await redis.set("much", bytes(24 << 20))
    with pytest.raises(ServiceError, match="full of other sessions") as caught:
        await sessions.create(SessionConfig())
    assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED and caught.value.retry_after > 0
    await sessions.update(session.id, SessionConfig(speaker="ben"))
    await redis.delete("much")
    async with asyncio.timeout(20):
        while (await redis.info("memory"))["used_memory"] >= 24 << 20:  # it is freed in a thread
            await asyncio.sleep(0.05)
    await sessions.create(SessionConfig())
    assert not room.Room(redis, StoreSettings())._is_full({"used_memory": 80, "maxmemory": 100})
    assert room.Room(redis, StoreSettings())._is_full({"used_memory": 90, "maxmemory": 100})
