"""Sessions are known to every gateway, change their configuration, and expire."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from services.gateway.events.items import Item
from services.gateway.events.session import SessionConfig
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
