"""The sessions' Valkey dies in the middle of a turn: the turn waits for it and goes on, or says what has happened."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time

import grpc
import pytest
from redis import Redis
from redis.exceptions import RedisError

from cli.client import Answer, Client, Question
from services.local import processes, valkey


class Store:
    """The embedded Valkey of a local stack, as its supervisor starts it."""

    def __init__(self, folder):
        self.url = f"unix://{folder / 'valkey.sock'}"
        self._folder = folder
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        arguments = valkey.arguments(self._folder, embeddings_mb=64)
        self._process = processes.start(arguments, dict(os.environ), self._folder / "valkey.log")

    def wait(self) -> None:
        until = time.monotonic() + 30
        while not self._answers():
            assert time.monotonic() < until
            time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            with Redis.from_url(self.url) as client:
                return client.ping()
        except RedisError:
            return False

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path)
    store.start()
    store.wait()
    yield store
    store.kill()


async def ask(client: Client, store: Store, away_seconds: float) -> Answer:
    """Asks; the store is killed at the first text of the answer, and started again later."""
    restart: list[asyncio.TimerHandle] = []

    def on_event(event) -> None:
        if event.WhichOneof("event") == "text" and not restart:
            store.kill()
            restart.append(asyncio.get_running_loop().call_later(away_seconds, store.start))

    answer = await client.ask(Question(text="and now?"), on_event)
    assert restart
    return answer


async def test_a_turn_waits_for_the_store_and_goes_on(store, make_gateway, connect):
    """It was lost, with the session, and told as "another connection took over this session"."""
    gateway = await make_gateway(store__redis_url=store.url)
    quiet, client = await connect(gateway), await connect(gateway)
    undisturbed = [await quiet.ask(Question(text=text)) for text in ("hello", "and now?")]
    answers = [await client.ask(Question(text="hello")), await ask(client, store, 1.0)]
    for here, there in zip(undisturbed, answers, strict=True):
        assert there.complete and (there.text, there.audio) == (here.text, here.audio)
        assert there.usage.prompt_tokens == here.usage.prompt_tokens  # of all that was said
    again = await connect(gateway, session_id=client.session_id, text_only=True)
    assert (await again.ask(Question(text="hello"))).usage.prompt_tokens > answers[1].usage.prompt_tokens


async def test_a_store_that_stays_away_is_told_as_such(store, make_gateway, connect):
    gateway = await make_gateway(store__redis_url=store.url, store__recovery_seconds=0.5)
    client = await connect(gateway, text_only=True)
    answer = await ask(client, store, 600.0)
    assert answer.error.code == grpc.StatusCode.UNAVAILABLE.name
    assert "the session store (Redis) cannot be reached" in answer.error.message


async def test_a_store_that_has_lost_the_session_is_told_as_such(store, make_gateway, connect):
    gateway = await make_gateway(store__redis_url=store.url)
    client = await connect(gateway, text_only=True)
    flushed = []

    def flush(event) -> None:
        if event.WhichOneof("event") == "text" and not flushed:
            with Redis.from_url(store.url) as redis:
                flushed.append(redis.flushall())

    answer = await client.ask(Question(text="hello"), flush)
    assert answer.error.code == grpc.StatusCode.NOT_FOUND.name and "has lost this session" in answer.error.message
