"""Handshakes of real WebSockets: where the key may stand, what is selected, and how a refusal looks."""

from __future__ import annotations

import contextlib
import json
import logging
import random

import pytest
from fastapi import FastAPI, WebSocket
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from services.gateway.access.keys import KeyLimits, new_key
from services.gateway.api.openai.realtime import credentials
from services.gateway.api.openai.realtime.credentials import KEY_PREFIX, key_of

DATABASE = 10


@pytest.fixture
async def server(make_gateway, redis_url):
    """A gateway with one more route, which says who called. → its WebSocket's URL, a key, the gateway."""
    gateway = await make_gateway(
        store__redis_url=f"{redis_url}?db={DATABASE}",
        access__cache_seconds=0,
        access__origins="https://chat.example",
    )
    access = gateway.backend.access
    app: FastAPI = gateway._web.config.app

    @app.websocket("/v1/whoami")
    async def whoami(websocket: WebSocket) -> None:
        try:
            found = await credentials.authenticate(websocket, access)
        except Exception as error:
            await credentials.refuse(websocket, error)
            return
        await websocket.accept(subprotocol=found.subprotocol)
        await websocket.send_json({"key_id": found.caller.key_id, "session": found.caller.session})
        await websocket.close()

    key = await access.keys.create("test", KeyLimits(requests=5))
    yield f"ws://127.0.0.1:{gateway.http_port}/v1/whoami", key, gateway
    await access.usage._redis.flushdb()


async def ask(url: str, subprotocols: list[str] | None = None, **headers: str) -> tuple[str, str | None]:
    """→ the id of the key that was found, the subprotocol that was selected."""
    offered = [Subprotocol(name) for name in subprotocols] if subprotocols else None
    async with connect(url, subprotocols=offered, additional_headers=headers) as socket:
        return json.loads(await socket.recv())["key_id"], socket.subprotocol


async def refusal(url: str, subprotocols: list[str] | None = None, **headers: str) -> tuple[int, dict, dict]:
    """→ the status, the error, the headers."""
    with pytest.raises(InvalidStatus) as caught:
        await ask(url, subprotocols, **headers)
    response = caught.value.response
    return response.status_code, json.loads(response.body)["error"], response.headers


async def test_the_key_is_in_the_header_or_in_a_subprotocol(server):
    url, key, _ = server
    key_id = key.split("-")[1]
    assert await ask(url, Authorization=f"Bearer {key}") == (key_id, None)
    assert await ask(url, ["realtime"], Authorization=f"Bearer {key}") == (key_id, "realtime")
    assert await ask(url, ["realtime", KEY_PREFIX + key]) == (key_id, "realtime")
    assert await ask(url, ["realtime", KEY_PREFIX + key, "openai-beta.realtime-v1"]) == (key_id, "realtime")


async def test_a_key_that_is_not_valid_is_a_401_before_the_upgrade(server):
    url, key, _ = server
    wrong = new_key("wrong", KeyLimits())[0]
    for subprotocols, headers in (
        (None, {}),
        (["realtime"], {}),
        (["realtime", KEY_PREFIX + wrong], {}),
        (["realtime", KEY_PREFIX], {}),
        (None, {"Authorization": f"Bearer {wrong}"}),
        (None, {"Authorization": key}),
        (["realtime", KEY_PREFIX + key], {"Authorization": f"Bearer {wrong}"}),  # the header counts
    ):
        status, error, _ = await refusal(url, subprotocols, **headers)
        assert (status, error["code"], error["type"]) == (401, "invalid_api_key", "invalid_request_error")
        assert wrong not in str(error) and set(error) == {"message", "type", "param", "code"}


async def test_too_many_handshakes_of_a_key_are_a_429_that_says_when_to_come_back(server):
    url, key, _ = server
    for _ in range(5):
        await ask(url, Authorization=f"Bearer {key}")
    status, error, headers = await refusal(url, Authorization=f"Bearer {key}")
    assert (status, error["code"]) == (429, "rate_limit_exceeded") and 10 <= int(headers["retry-after"]) <= 12


async def test_a_page_of_another_origin_is_a_403(server):
    url, key, gateway = server
    key_id = key.split("-")[1]
    own = f"http://127.0.0.1:{gateway.http_port}"
    for origin in (own, "https://chat.example"):
        assert await ask(url, ["realtime", KEY_PREFIX + key], Origin=origin) == (key_id, "realtime")
    for origin in ("https://evil.example", "null", "http://127.0.0.1", "https://chat.example.evil.example"):
        status, error, _ = await refusal(url, ["realtime", KEY_PREFIX + key], Origin=origin)
        assert (status, error["code"]) == (403, "permission_denied")


async def test_a_client_secret_opens_a_connection_with_its_session(server):
    url, key, gateway = server
    access = gateway.backend.access
    session = {"type": "realtime", "instructions": "be brief"}
    value, _ = await access.create_secret(await access.caller(key), 60, session)
    async with connect(url, subprotocols=[Subprotocol("realtime"), Subprotocol(KEY_PREFIX + value)]) as socket:
        assert json.loads(await socket.recv()) == {"key_id": key.split("-")[1], "session": session}


async def test_no_key_is_logged_however_much_is(server, caplog):
    url, key, _ = server
    with caplog.at_level(logging.DEBUG), contextlib.suppress(InvalidStatus):
        await ask(url, ["realtime", KEY_PREFIX + key])
        await ask(url, ["realtime", KEY_PREFIX + "sk-wrong"], Authorization=f"Bearer {key}")
    served = [record.getMessage() for record in caplog.records if record.name != "websockets.client"]
    assert caplog.records and not [line for line in served if key in line or KEY_PREFIX in line or "key_id" in line]


def test_what_is_offered_may_be_anything():
    shuffled = random.Random(0)
    pieces = ["realtime", KEY_PREFIX, "sk-", "é", ",", " ", "openai-beta.realtime-v1", "\x00", "ek_", "a" * 1000]
    for _ in range(1000):
        offered = ["".join(shuffled.choices(pieces, k=shuffled.randint(1, 3))) for _ in range(shuffled.randint(0, 5))]
        found = key_of("", offered)
        assert not found or KEY_PREFIX + found in offered
    assert key_of("Bearer a", [KEY_PREFIX + "b"]) == "a" and key_of("Basic a", [KEY_PREFIX + "b"]) == "b"
