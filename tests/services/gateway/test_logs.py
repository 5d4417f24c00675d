"""What people say, write and show is in no log line, however much is logged, also where a turn fails."""

from __future__ import annotations

import json
import logging

import grpc
import openai
import pytest
import websockets

from cli.client import Answer, Question
from services.gateway.access.keys import KeyLimits
from services.telemetry.session_hash import session_hash

CLIENTS = ("openai", "httpx", "httpcore", "websockets.client", "asyncio")  # they run in this process too
SECRETS = ("my bank code is", "call me by the name", "grandmother")


@pytest.fixture
def logged(capfd, caplog):
    """Everything that was logged: this repository's lines, which go to standard output here, and libraries'."""
    caplog.set_level(logging.DEBUG)

    def read() -> str:
        out, err = capfd.readouterr()
        served = [record.getMessage() for record in caplog.records if not record.name.startswith(CLIENTS)]
        return "\n".join([out, err, *served])

    return read


async def ask_all(client, picture: bytes, spoken_question) -> list[Answer]:
    return [
        await client.ask(Question(text="my bank code is 4821")),
        await client.ask(Question(audio=spoken_question.tobytes(), images=[picture], paced=False)),
        await client.ask(Question(text="grandmother " * 2000)),  # refused
        await client.ask(Question(text="grandmother", images=[b"my bank code is no picture"])),  # refused
    ]


async def test_a_turn_leaves_none_of_its_content_in_the_logs(make_gateway, connect, picture, spoken_question, logged):
    client = await connect(await make_gateway(), instructions="call me by the name Ilsebill")
    answers = await ask_all(client, picture, spoken_question)
    assert [answer.complete for answer in answers] == [True, True, False, False]
    lines = logged()
    assert "turn over" in lines and "turn failed" in lines
    for secret in (
        *SECRETS,
        *(text for answer in answers for text in (answer.text, answer.transcript) if len(text) > 4),
    ):
        assert secret not in lines and json.dumps(secret)[1:-1] not in lines and repr(secret)[1:-1] not in lines


async def test_nor_does_a_request_or_a_connection_of_the_openai_api(make_gateway, logged):
    gateway = await make_gateway()
    base_url, said = f"http://127.0.0.1:{gateway.http_port}/v1", "my bank code is 4821"
    async with openai.AsyncOpenAI(api_key="none", base_url=base_url, max_retries=0) as api:
        message = {"role": "user", "content": said}
        await api.chat.completions.create(model="parley", messages=[message], max_completion_tokens=8)
        with pytest.raises(openai.BadRequestError):
            await api.chat.completions.create(model="parley", messages=[message], temperature=[said])
        async with api.realtime.connect(model="parley") as connection:
            text = {"type": "input_text", "text": said}
            await connection.conversation.item.create(item={"type": "message", "role": "user", "content": [text]})
            await connection.conversation.item.create(item={"type": said})  # refused
            await connection.response.create(response={"max_output_tokens": 8})
            while (await connection.recv()).type != "response.done":
                pass
    lines = logged()
    assert "turn over" in lines and said not in lines


async def test_a_session_is_in_the_logs_by_its_hash_only(make_gateway, connect, logged):
    gateway = await make_gateway()
    client = await connect(gateway, text_only=True)
    assert (await client.ask(Question(text="hello"))).complete
    with pytest.raises(grpc.RpcError, match="there is no session of this id"):
        await connect(gateway, session_id="c2Vzc2lvbiBvZiBvdGhlcnM")
    realtime = f"ws://127.0.0.1:{gateway.http_port}/v1/realtime?parley_session_id="
    async with websockets.connect(realtime) as connection:
        session_id = json.loads(await connection.recv())["session"]["id"]
    async with websockets.connect(f"{realtime}{session_id}") as connection:
        assert json.loads(await connection.recv())["session"]["id"] == session_id
        await connection.send(json.dumps({"type": "response.create", "response": {"max_output_tokens": 4}}))
        while json.loads(await connection.recv())["type"] != "response.done":
            pass
    lines = logged()
    assert "turn over" in lines and "call failed" in lines
    for known in (client.session_id, session_id):
        assert session_hash(known) in lines and known not in lines
    assert "c2Vzc2lvbiBvZiBvdGhlcnM" not in lines


async def test_no_key_is_in_the_logs(make_gateway, redis_url, connect, monkeypatch, logged):
    gateway = await make_gateway(store__redis_url=f"{redis_url}?db=12", access__cache_seconds=0)
    access = gateway.backend.access
    key = await access.keys.create("test", KeyLimits())
    monkeypatch.setenv("PARLEY_API_KEY", key)
    client = await connect(gateway, text_only=True)
    assert (await client.ask(Question(text="hello"))).complete
    monkeypatch.setenv("PARLEY_API_KEY", key + "x")
    with pytest.raises(Exception, match="not valid"):
        await connect(gateway)
    lines = logged()
    assert "call failed" in lines and key not in lines and key.split("-", 2)[2] not in lines
    await access.usage._redis.flushdb()
