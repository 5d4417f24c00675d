"""Client secrets, made by the official client over a real socket."""

from __future__ import annotations

import base64
import contextlib
import time

import openai
import pytest
from openai.types.realtime import ClientSecretCreateResponse
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from services.gateway.access.keys import KeyLimits

DATABASE = 9


@pytest.fixture
async def keyed(make_gateway, redis_url):
    """A gateway that asks for keys, and one of them."""
    gateway = await make_gateway(store__redis_url=f"{redis_url}?db={DATABASE}", access__cache_seconds=0)
    yield gateway, await gateway.backend.access.keys.create("test", KeyLimits(sessions=3))
    await gateway.backend.access.usage._redis.flushdb()


def client(gateway, key: str = "none") -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(api_key=key, base_url=f"http://127.0.0.1:{gateway.http_port}/v1", max_retries=0)


SESSION = {
    "type": "realtime",
    "model": "gpt-realtime",
    "instructions": "be brief",
    "audio": {"input": {"turn_detection": None}, "output": {"voice": "marin"}},
    "tools": [{"type": "function", "name": "now", "parameters": {"type": "object"}}],
}


async def test_a_secret_carries_its_session_to_every_connection(keyed):
    gateway, key = keyed
    async with client(gateway, key) as api:
        created = await api.realtime.client_secrets.create(session=SESSION, expires_after={"seconds": 60})
    assert created.value.startswith("ek_") and 55 <= created.expires_at - time.time() <= 60
    told = created.session.to_dict()
    assert told["id"].startswith("sess_") and told["object"] == "realtime.session"
    assert (told["instructions"], told["tools"][0]["name"], told["model"]) == ("be brief", "now", "parley")
    assert told["audio"]["output"]["voice"] == "marin" and told["audio"]["input"]["turn_detection"] is None
    caller = await gateway.backend.access.caller(created.value)
    assert caller.session == SESSION and caller.limits.sessions == 3


async def test_the_answer_is_of_openais_type(keyed):
    gateway, key = keyed
    async with client(gateway, key) as api:
        for session in (SESSION, {"type": "transcription", "audio": {"input": {"format": {"type": "audio/pcmu"}}}}):
            raw = await api.realtime.client_secrets.with_raw_response.create(session=session)
            ClientSecretCreateResponse.model_validate_json(raw.http_response.content, strict=True)
        plain = await api.realtime.client_secrets.create()
        assert plain.session.type == "realtime" and 590 <= plain.expires_at - time.time() <= 600


async def test_a_secret_makes_no_secrets_and_opens_no_other_api(keyed):
    gateway, key = keyed
    async with client(gateway, key) as api:
        secret = (await api.realtime.client_secrets.create()).value
    async with client(gateway, secret) as page:
        for call in (page.realtime.client_secrets.create(), page.models.list()):
            with pytest.raises(openai.PermissionDeniedError, match="Realtime sessions only"):
                await call
    async with client(gateway) as stranger:
        with pytest.raises(openai.AuthenticationError):
            await stranger.realtime.client_secrets.create()


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"expires_after": {"seconds": 9}}, "expires_after.seconds"),
        ({"expires_after": {"seconds": 7201}}, "expires_after.seconds"),
        ({"expires_after": {"anchor": "now", "seconds": 60}}, "expires_after.anchor"),
        ({"session": {"type": "chat"}}, "session.type"),
        ({"session": {"type": "realtime", "tools": 5}}, "session.tools"),
        ({"session": {"type": "realtime", "model": "claude"}}, "model"),
        ({"session": {"type": "realtime", "audio": {"output": {"voice": "nobody"}}}}, "voice"),
        ({"session": {"type": "realtime", "nonsense": 1}}, "session.nonsense"),
        ({"session": 5}, "session"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
async def test_what_cannot_be_is_named(make_gateway, params, param):
    async with client(await make_gateway()) as api:
        with pytest.raises(openai.APIStatusError) as caught:
            await api.post("/realtime/client_secrets", body=params, cast_to=object)
        assert caught.value.body["param"] == param and caught.value.status_code in (400, 404)


@pytest.mark.parametrize(("body", "status"), [(b"{", 400), (b"[]", 400), (b"\xff", 400), (b" " * (1 << 19), 413)])
async def test_a_body_that_is_none_is_refused(make_gateway, body, status):
    async with client(await make_gateway()) as api:
        with pytest.raises(openai.APIStatusError) as caught:
            await api.post("/realtime/client_secrets", content=body, cast_to=object)
        assert caught.value.status_code == status


async def test_without_keys_a_page_gets_a_secret_too(make_gateway):
    gateway = await make_gateway()
    async with client(gateway) as api:
        created = await api.realtime.client_secrets.create(session=SESSION)
    assert (await gateway.backend.access.caller(created.value)).session == SESSION


async def test_a_connection_begins_with_the_session_of_its_secret(keyed):
    gateway, key = keyed
    async with client(gateway, key) as api:
        secret = (await api.realtime.client_secrets.create(session=SESSION)).value
    async with client(gateway, secret) as page, page.realtime.connect() as connection:
        created = await connection.recv()
        assert created.type == "session.created" and created.session.instructions == "be brief"
        assert created.session.tools[0].name == "now" and created.session.audio.output.voice == "marin"


async def test_a_revoked_key_ends_the_connections_of_its_secrets(make_gateway, redis_url):
    gateway = await make_gateway(
        store__redis_url=f"{redis_url}?db={DATABASE}", access__cache_seconds=0, access__session_lease_seconds=0.2
    )
    access = gateway.backend.access
    key = await access.keys.create("test", KeyLimits())
    async with client(gateway, key) as api:
        secret = (await api.realtime.client_secrets.create()).value
    async with client(gateway, secret) as page, page.realtime.connect() as connection:
        assert (await connection.recv()).type == "session.created"
        await access.keys.revoke(key.split("-")[1])
        error = await connection.recv()
        assert error.type == "error" and error.error.code == "invalid_api_key"
        with pytest.raises(ConnectionClosedError) as closed:
            await connection.recv()
        assert closed.value.rcvd.code == 1008  # SDKs do not connect again
    await access.usage._redis.flushdb()


async def test_sessions_of_a_key_are_counted_over_its_secrets(keyed):
    gateway, key = keyed
    async with client(gateway, key) as api:
        secrets = [(await api.realtime.client_secrets.create()).value for _ in range(2)]
        async with contextlib.AsyncExitStack() as stack:
            for holder in (key, *secrets):
                page = await stack.enter_async_context(client(gateway, holder))
                connection = await stack.enter_async_context(page.realtime.connect(model="parley"))
                await connection.recv()
            with pytest.raises(InvalidStatus) as refused:
                await stack.enter_async_context(api.realtime.connect(model="parley"))
            assert refused.value.response.status_code == 429 and refused.value.response.headers["retry-after"]


async def test_audio_that_is_used_up_ends_the_connection_and_refuses_the_next(make_gateway, redis_url, spoken_question):
    gateway = await make_gateway(store__redis_url=f"{redis_url}?db={DATABASE}", access__cache_seconds=0)
    access = gateway.backend.access
    key = await access.keys.create("test", KeyLimits(audio_minutes=2 / 60))
    async with client(gateway, key) as api:
        async with api.realtime.connect(model="parley") as connection:
            assert (await connection.recv()).type == "session.created"
            with pytest.raises(ConnectionClosedError) as closed:
                for _ in range(4):  # of a second each
                    await connection.input_audio_buffer.append(audio=base64.b64encode(bytes(48_000)).decode())
                while (event := await connection.recv()).type != "error":
                    pass
                assert event.error.code == "rate_limit_exceeded" and "minutes of audio a day" in event.error.message
                await connection.recv()
            assert closed.value.rcvd.code == 1013
        with pytest.raises(InvalidStatus) as refused:
            async with api.realtime.connect(model="parley"):
                pass
        assert refused.value.response.status_code == 429
    await access.usage._redis.flushdb()


async def test_what_is_spoken_to_a_client_counts_too(keyed):
    gateway, key = keyed
    async with client(gateway, key) as api, api.realtime.connect(model="parley") as connection:
        text = {"type": "input_text", "text": "hello"}
        await connection.conversation.item.create(item={"type": "message", "role": "user", "content": [text]})
        await connection.response.create(response={"max_output_tokens": 12})
        seconds = 0.0
        while (event := await connection.recv()).type != "response.done":
            if event.type == "response.output_audio.delta":
                seconds += len(base64.b64decode(event.delta)) / 48_000
    access = gateway.backend.access
    counted = access._audio._counts[key.split("-")[1]]
    assert seconds > 0.1
    assert counted.used + counted.pending == pytest.approx(seconds, abs=0.05)


async def test_a_session_of_one_key_cannot_be_gone_on_with_by_another(keyed):
    gateway, key = keyed
    other = await gateway.backend.access.keys.create("other", KeyLimits())
    wanted = {"parley_session_id": ""}
    async with client(gateway, key) as api, api.realtime.connect(model="parley", extra_query=wanted) as connection:
        session_id = (await connection.recv()).session.id
    place = {"parley_session_id": session_id}
    for holder, found in ((other, "error"), (key, "session.created")):
        async with (
            client(gateway, holder) as api,
            api.realtime.connect(model="parley", extra_query=place) as connection,
        ):
            event = await connection.recv()
            assert event.type == found
            assert found != "error" or event.error.code == "session_not_resumable"
