"""What people say, write and show is in no log line, however much is logged, also where a turn fails."""

from __future__ import annotations

import json
import logging

import pytest

from cli.client import Answer, Question
from services.gateway.access.keys import KeyLimits

SECRETS = ("my bank code is", "call me by the name", "grandmother")


@pytest.fixture
def logged(capfd, caplog):
    """Everything that was logged: this repository's lines, which go to standard output here, and libraries'."""
    caplog.set_level(logging.DEBUG)

    def read() -> str:
        out, err = capfd.readouterr()
        libraries = [
            record.getMessage() for record in caplog.records if not record.name.startswith("websockets.client")
        ]
        return "\n".join([out, err, *libraries])

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
