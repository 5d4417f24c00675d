"""A key's limits hold on HTTP: its requests, and the audio that it sends and is sent."""

from __future__ import annotations

import io
import re

import httpx
import numpy as np
import openai
import pytest
import soundfile
from redis.asyncio import Redis

from services.gateway.access.keys import KeyLimits
from services.gateway.api.openai.response_headers import duration

DATABASE = 5  # with keys: elsewhere none are asked for


@pytest.fixture
async def gateway(make_gateway, redis_url):
    url = f"{redis_url}?db={DATABASE}"
    yield await make_gateway(access__keys="required", store__redis_url=url)
    async with Redis.from_url(url) as redis:
        await redis.flushdb()


@pytest.fixture
async def client_of(gateway):
    """→ an official client with a new key of these limits."""
    clients = []

    async def make(**limits) -> openai.AsyncOpenAI:
        key = await gateway.backend.access.keys.create("test", KeyLimits(**limits))
        url = f"http://127.0.0.1:{gateway.http_port}/v1"
        clients.append(openai.AsyncOpenAI(base_url=url, api_key=key, max_retries=0))
        return clients[-1]

    yield make
    for client in clients:
        await client.close()


def recording(seconds: float) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.random.default_rng(0).normal(0, 0.1, int(16_000 * seconds)), 16_000, format="WAV")
    return file.getvalue()


async def test_the_requests_that_are_left_are_told_and_then_refused(client_of):
    client = await client_of(requests=2)
    for left in ("1", "0"):
        response = await client.models.with_raw_response.list()
        assert response.headers["x-ratelimit-limit-requests"] == "2"
        assert response.headers["x-ratelimit-remaining-requests"] == left
        assert re.fullmatch(r"(\d+m)?\d+m?s", response.headers["x-ratelimit-reset-requests"])
    with pytest.raises(openai.RateLimitError) as caught:
        await client.models.list()
    assert caught.value.code == "rate_limit_exceeded" and float(caught.value.response.headers["retry-after"]) > 0
    assert caught.value.response.headers["x-request-id"].startswith("req_")


async def test_audio_of_all_endpoints_counts(client_of):
    client = await client_of(audio_minutes=0.1)  # 6 s
    await client.audio.transcriptions.create(model="parley", file=recording(5))
    await client.audio.speech.create(model="parley", voice="alloy", input="hello, how are you today? " * 8)
    with pytest.raises(openai.RateLimitError, match="minutes of audio"):
        await client.audio.transcriptions.create(model="parley", file=recording(1))
    assert (await client.models.list()).data


async def test_what_only_speaks_ends_with_the_audio_of_its_key(client_of):
    client = await client_of(audio_minutes=0.01)  # 0.6 s
    text = "hello, how are you today? " * 8

    async def speak() -> None:
        await client.audio.speech.create(model="parley", voice="alloy", input=text)

    async def chat() -> None:
        audio = {"voice": "alloy", "format": "wav"}
        message = {"role": "user", "content": text}
        await client.chat.completions.create(
            model="parley", messages=[message], modalities=["text", "audio"], audio=audio, max_tokens=32
        )

    await speak()
    for ask in (speak, chat):
        with pytest.raises(openai.RateLimitError, match="minutes of audio"):
            await ask()


async def test_audio_that_is_not_read_to_its_end_counts_too(gateway, client_of):
    client = await client_of(audio_minutes=60)
    speak = client.audio.speech.with_streaming_response.create
    async with speak(model="parley", voice="alloy", input="hello, how are you today? " * 100) as speech:
        await anext(speech.iter_bytes(10))
    (key,) = await gateway.backend.access.keys.list()
    assert gateway.backend.access._audio.add(key.id, 0.0) > 0


async def test_no_key_or_a_wrong_one_opens_nothing(gateway, client_of):
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{gateway.http_port}") as http:
        for headers in ({}, {"authorization": "Bearer sk-0000000000000000-wrong"}, {"authorization": "Basic abc"}):
            response = await http.post("/v1/chat/completions", content=b"{", headers=headers)
            assert (response.status_code, response.json()["error"]["code"]) == (401, "invalid_api_key")


async def test_a_spoken_answer_is_named_by_its_own_key_only(client_of):
    mine, other = await client_of(), await client_of()
    hello = [{"role": "user", "content": "hello"}]
    spoken = await mine.chat.completions.create(
        model="parley",
        messages=hello,
        max_tokens=8,
        modalities=["text", "audio"],
        audio={"voice": "alloy", "format": "wav"},
    )
    named = [*hello, {"role": "assistant", "audio": {"id": spoken.choices[0].message.audio.id}}, *hello]
    assert (await mine.chat.completions.create(model="parley", messages=named, max_tokens=8)).choices
    with pytest.raises(openai.BadRequestError, match="still kept"):
        await other.chat.completions.create(model="parley", messages=named, max_tokens=8)


@pytest.mark.parametrize(
    ("seconds", "written"), [(0.0, "0ms"), (0.12, "120ms"), (1, "1s"), (59.6, "1m0s"), (360, "6m0s"), (7261, "2h1m1s")]
)
def test_times_are_written_as_openai_writes_them(seconds, written):
    assert duration(seconds) == written
