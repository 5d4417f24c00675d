"""`Conversation` asks for the same keys, and keeps the same limits, as the other ways in."""

from __future__ import annotations

import asyncio
import contextlib

import grpc
import pytest

from cli.client import Client, Question
from protos.parley.v1 import conversation_pb2 as wire
from protos.parley.v1.conversation_pb2_grpc import ConversationStub
from services.gateway.access.keys import KeyLimits
from services.rpc.errors import RETRY_AFTER_KEY

DATABASE = 11
CONFIG = wire.SessionConfig(turn_detection=wire.TURN_DETECTION_MANUAL, text_only=True)
HELLO = Question(text="hello")


@pytest.fixture
async def talk(make_gateway, redis_url):
    """`gateway, open, new_key = await talk()`; `await open(key, session_id)` gives a client, or raises."""
    gateways, stack = [], contextlib.AsyncExitStack()

    async def make(**settings):
        defaults = {"access__cache_seconds": 0, "store__redis_url": f"{redis_url}?db={DATABASE}"}
        gateway = await make_gateway(**(defaults | settings))
        gateways.append(gateway)

        async def open_session(key: str, session_id: str = "") -> Client:
            client = await stack.enter_async_context(Client(f"127.0.0.1:{gateway.port}", key=key))
            await client.open(CONFIG, session_id)
            return client

        async def new_key(**limits) -> str:
            return await gateway.backend.access.keys.create("test", KeyLimits(**limits))

        return gateway, open_session, new_key

    async with stack:
        yield make
    for gateway in gateways:
        await gateway.backend.access.usage._redis.flushdb()


async def refused(call, code: grpc.StatusCode, said: str) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        await call
    assert caught.value.code() is code and said in caught.value.details()
    return caught.value


async def test_a_stream_needs_a_key_once_there_is_one(talk):
    _, open_session, new_key = await talk()
    assert (await (await open_session("")).ask(HELLO)).complete
    key = await new_key()
    assert (await (await open_session(key)).ask(HELLO)).complete
    for wrong in ("", "sk-wrong", key[:-1] + "?"):
        await refused(open_session(wrong), grpc.StatusCode.UNAUTHENTICATED, "API key")


async def test_parley_ask_takes_the_key_of_the_environment(talk, monkeypatch):
    gateway, _, new_key = await talk()
    monkeypatch.setenv("PARLEY_API_KEY", await new_key())
    async with Client(f"127.0.0.1:{gateway.port}") as client:
        await client.open(CONFIG)
        assert (await client.ask(HELLO)).complete


async def test_the_key_is_checked_before_a_message_is_read(talk, monkeypatch):
    """What a client that is refused still sends is dropped for a moment, so that it sees why it is refused."""
    steps, parse = [], wire.ClientEvent.FromString
    monkeypatch.setattr(wire.ClientEvent, "FromString", lambda data: steps.append("message") or parse(data))
    gateway, _, new_key = await talk()
    await new_key()
    check = gateway.backend.access.full_caller
    monkeypatch.setattr(gateway.backend.access, "full_caller", lambda key: steps.append("key") or check(key))
    options = [("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{gateway.port}", options=options) as channel:
        call = ConversationStub(channel).Converse()
        with contextlib.suppress(grpc.RpcError, asyncio.InvalidStateError):
            await call.write(wire.ClientEvent(image=bytes(30 << 20)))
        await refused(call.read(), grpc.StatusCode.UNAUTHENTICATED, "no API key")
    assert steps[0] == "key" and len(steps) <= 2


async def test_a_client_that_sends_without_waiting_sees_why_it_is_refused(talk):
    gateway, _, new_key = await talk()
    await new_key()
    async with Client(f"127.0.0.1:{gateway.port}", key="sk-wrong") as client:
        client.start()
        await client.send(open=wire.OpenSession(config=CONFIG))
        for _ in range(50):
            await client.send(audio=bytes(2000))
        await refused(anext(client.events()), grpc.StatusCode.UNAUTHENTICATED, "not valid")


async def test_a_session_belongs_to_the_key_that_opened_it(talk):
    _, open_session, new_key = await talk()
    unowned = await open_session("")
    mine, other = await new_key(), await new_key()
    session_id = (await open_session(mine)).session_id
    assert (await open_session(mine, session_id)).ready.resumed
    await refused(open_session(other, session_id), grpc.StatusCode.NOT_FOUND, "no session")
    assert (await open_session(other, unowned.session_id)).ready.resumed  # opened without a key: by who knows its id


async def test_without_keys_a_session_of_a_key_cannot_be_opened(talk):
    _, open_session, new_key = await talk()
    session_id = (await open_session(await new_key())).session_id
    _, open_openly, _ = await talk(access__keys="off")
    await refused(open_openly("", session_id), grpc.StatusCode.NOT_FOUND, "no session")


async def test_too_many_sessions_are_refused_and_one_that_closes_makes_room(talk):
    _, open_session, new_key = await talk()
    key = await new_key(sessions=1)
    client = await open_session(key)
    error = await refused(open_session(key), grpc.StatusCode.RESOURCE_EXHAUSTED, "1 sessions open at once")
    assert dict(error.trailing_metadata())[RETRY_AFTER_KEY] == "1000"
    await client.close()
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(grpc.RpcError):
                await open_session(key)
                break
            await asyncio.sleep(0.05)


async def test_questions_count_as_requests(talk):
    _, open_session, new_key = await talk()
    client = await open_session(await new_key(requests=3))  # the stream is one
    assert (await client.ask(HELLO)).complete and (await client.ask(HELLO)).complete
    refusal = await client.ask(HELLO)
    assert (refusal.finish_reason, refusal.error.code) == ("failed", "RESOURCE_EXHAUSTED")
    assert "3 requests a minute" in refusal.error.message and 15 < refusal.error.retry_after <= 20


async def test_audio_that_is_used_up_ends_the_stream(talk, spoken_question):
    _, open_session, new_key = await talk()
    client = await open_session(await new_key(audio_minutes=4 / 60))
    question = Question(audio=spoken_question.tobytes(), paced=False)
    assert len(spoken_question) < 3 * 16_000 and (await client.ask(question)).complete
    await refused(client.ask(question), grpc.StatusCode.RESOURCE_EXHAUSTED, "minutes of audio a day")


async def test_a_revoked_key_ends_a_stream_that_is_open(talk):
    gateway, open_session, new_key = await talk(access__session_lease_seconds=0.2)
    key = await new_key()
    client = await open_session(key)
    await gateway.backend.access.keys.revoke(key.split("-")[1])
    async with asyncio.timeout(10):
        await refused(anext(client.events()), grpc.StatusCode.UNAUTHENTICATED, "revoked")


async def test_a_client_secret_opens_no_stream(talk):
    gateway, open_session, new_key = await talk()
    access = gateway.backend.access
    value, _ = await access.create_secret(await access.caller(await new_key()), 60, {"type": "realtime"})
    await refused(open_session(value), grpc.StatusCode.PERMISSION_DENIED, "Realtime sessions only")
