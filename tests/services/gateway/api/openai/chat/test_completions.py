"""`/v1/chat/completions` by the official client and by hand, before the real services."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from pathlib import Path

import httpx
import numpy as np
import openai
import pytest
import soundfile

from services.gateway.conversation.attempt import Attempt
from services.telemetry import metrics

EXAMPLES = Path(__file__).parents[6] / "examples"
HELLO = [{"role": "user", "content": "hello"}]


def data_url(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def as_wav(samples: np.ndarray, rate: int = 16_000) -> str:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV")
    return base64.b64encode(file.getvalue()).decode()


async def complete(client, messages=HELLO, **more):
    more = {"model": "parley", "max_completion_tokens": 8, "seed": 3} | more
    return await client.chat.completions.create(messages=messages, **more)


async def test_a_written_answer(client):
    answer = await complete(client)
    (choice,) = answer.choices
    assert choice.message.content and choice.message.role == "assistant" and choice.finish_reason == "length"
    assert answer.usage.completion_tokens == 8 and answer.usage.total_tokens == 8 + answer.usage.prompt_tokens
    assert answer.model == "parley" and answer.id.startswith("chatcmpl-")
    assert (await complete(client)).choices[0].message.content == choice.message.content
    assert (await complete(client, model="gpt-4o")).model == "parley"


async def test_a_stream_has_the_same_text_and_ends_with_usage(client):
    whole = await complete(client)
    stream = await complete(client, stream=True, stream_options={"include_usage": True})
    chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 2) + ["length"]
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == 8
    assert {chunk.id for chunk in chunks} == {chunks[0].id} and chunks[0].choices[0].delta.role == "assistant"


async def test_a_spoken_answer_is_a_file_and_can_be_named_later(client):
    said = await complete(client, modalities=["text", "audio"], audio={"voice": "alloy", "format": "wav"})
    message = said.choices[0].message
    assert message.content is None and message.audio.transcript
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(message.audio.data)))
    assert rate == 24_000 and len(samples) > 1000
    assert said.usage.completion_tokens_details.audio_tokens > 0
    by_id = [*HELLO, {"role": "assistant", "audio": {"id": message.audio.id}}, *HELLO]
    by_text = [*HELLO, {"role": "assistant", "content": message.audio.transcript}, *HELLO]
    first, second = [await complete(client, messages) for messages in (by_id, by_text)]
    assert first.choices[0].message.content == second.choices[0].message.content
    with pytest.raises(openai.BadRequestError, match="still kept") as caught:
        await complete(client, [*HELLO, {"role": "assistant", "audio": {"id": "audio_none"}}, *HELLO])
    assert caught.value.param == "messages.1.audio.id"


async def test_a_spoken_stream_is_pcm(client):
    audio = {"voice": "alloy", "format": "pcm16"}
    stream = await complete(client, modalities=["text", "audio"], audio=audio, stream=True)
    deltas = [chunk.choices[0].delta async for chunk in stream]
    parts = [delta.audio for delta in deltas if getattr(delta, "audio", None)]
    assert parts[0].id.startswith("audio_") and parts[-1].expires_at > 0
    pcm = b"".join(base64.b64decode(part.data) for part in parts if part.data)
    assert len(pcm) > 2000 and "".join(part.transcript or "" for part in parts)
    whole = await complete(client, modalities=["text", "audio"], audio=audio)
    assert base64.b64decode(whole.choices[0].message.audio.data) == pcm


async def test_pictures_frames_speech_and_system_prompts_change_the_answer(client, draw, spoken_question):
    plain = (await complete(client)).choices[0].message.content
    picture = {"type": "image_url", "image_url": {"url": data_url(draw("lime")), "detail": "low"}}
    frames = {"type": "video", "video": [data_url(draw("cyan")), data_url(draw("tan"))]}
    speech = {"type": "input_audio", "input_audio": {"data": as_wav(spoken_question), "format": "wav"}}
    video = {"type": "video_url", "video_url": {"url": data_url((EXAMPLES / "moving.mp4").read_bytes(), "video/mp4")}}
    for part in (picture, frames, video, speech):
        seen = await complete(client, [{"role": "user", "content": [part, {"type": "text", "text": "hello"}]}])
        assert seen.choices[0].message.content != plain
        details = seen.usage.prompt_tokens_details
        assert details.image_tokens + details.audio_tokens > 3
        assert details.text_tokens + details.image_tokens + details.audio_tokens == seen.usage.prompt_tokens
    instructed = await complete(client, [{"role": "developer", "content": "be brief"}, *HELLO])
    assert instructed.choices[0].message.content != plain


async def test_a_system_message_that_is_last_is_answered(client):
    alone = await complete(client, [{"role": "developer", "content": "hello"}])
    assert alone.choices[0].message.content == (await complete(client)).choices[0].message.content


async def test_the_next_request_of_a_chat_finds_its_cache(client):
    first = await complete(client, [{"role": "system", "content": "you are kind. " * 5}, *HELLO])
    history = [{"role": "system", "content": "you are kind. " * 5}, *HELLO]
    history += [{"role": "assistant", "content": first.choices[0].message.content}, *HELLO]
    assert (await complete(client, history)).usage.prompt_tokens_details.cached_tokens > 20


async def test_sampling_is_as_asked(client):
    warm = [await complete(client, temperature=1.0, seed=seed) for seed in (1, 1, 2)]
    texts = [answer.choices[0].message.content for answer in warm]
    assert texts[0] == texts[1] != texts[2]
    whole = (await complete(client, max_completion_tokens=20)).choices[0].message.content
    narrow = await complete(client, temperature=1.0, top_p=0, max_completion_tokens=20)
    assert narrow.choices[0].message.content == whole  # only the likeliest token is left
    stop = whole[len(whole) // 2 :][:3]
    stopped = await complete(client, max_completion_tokens=20, stop=[stop])
    assert stopped.choices[0].finish_reason == "stop"
    assert stopped.choices[0].message.content == whole[: whole.index(stop)]
    assert (await complete(client, max_tokens=3, max_completion_tokens=None)).usage.completion_tokens == 3


async def test_answers_and_chunks_are_what_openais_schemas_say(http, conforms):
    body = {"model": "parley", "messages": HELLO, "max_tokens": 4}
    for more in ({}, {"modalities": ["text", "audio"], "audio": {"voice": "echo", "format": "pcm16"}}):
        conforms((await http.post("/v1/chat/completions", json=body | more)).json(), "CreateChatCompletionResponse")
        options = {"stream": True, "stream_options": {"include_usage": True}}
        stream = await http.post("/v1/chat/completions", json=body | more | options)
        assert stream.headers["content-type"].startswith("text/event-stream")
        *lines, end, rest = stream.text.split("\n\n")
        assert end == "data: [DONE]" and rest == ""
        for line in lines:
            conforms(json.loads(line.removeprefix("data: ")), "CreateChatCompletionStreamResponse")


@pytest.fixture
def slow_tokens(monkeypatch):
    """An answer that is not over before anybody can go away."""
    on_token = Attempt.on_token

    async def wait(self, token):
        await asyncio.sleep(0.02)
        await on_token(self, token)

    monkeypatch.setattr(Attempt, "on_token", wait)


async def test_a_client_that_goes_away_cancels_its_answer_at_once(http, slow_tokens):
    cancelled = metrics.TURNS.labels("cancelled")._value.get()
    body = {"model": "parley", "messages": HELLO, "max_tokens": 400, "stream": True}
    audio = {"modalities": ["text", "audio"], "audio": {"voice": "echo", "format": "pcm16"}}
    async with http.stream("POST", "/v1/chat/completions", json=body | audio) as stream:
        await anext(stream.aiter_lines())
    await until(lambda: metrics.TURNS.labels("cancelled")._value.get() == cancelled + 1)


async def test_a_client_that_goes_away_before_the_answer_cancels_it_too(http, slow_tokens):
    cancelled = metrics.TURNS.labels("cancelled")._value.get()
    body = {"model": "parley", "messages": HELLO, "max_tokens": 400}
    audio = {"modalities": ["text", "audio"], "audio": {"voice": "echo", "format": "wav"}}
    waiting = asyncio.create_task(http.post("/v1/chat/completions", json=body | audio))
    opened = metrics.OPEN_TURNS.labels("answering")._value
    await until(lambda: opened.get() > 0)
    waiting.cancel()
    await until(lambda: metrics.TURNS.labels("cancelled")._value.get() == cancelled + 1)


async def test_a_gateway_that_stops_finishes_its_answers_and_takes_no_more(make_gateway, slow_tokens):
    gateway = await make_gateway(server__drain_seconds=20)
    body = {"model": "parley", "messages": HELLO, "max_tokens": 40, "stream": True}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{gateway.http_port}") as http:
        async with http.stream("POST", "/v1/chat/completions", json=body) as stream:
            lines = stream.aiter_lines()
            await anext(lines)
            stopping = asyncio.create_task(gateway.stop())
            await until(lambda: gateway.backend.stopping)
            late = await http.get("/v1/models")
            assert late.status_code == 503 and late.headers["retry-after"] == "1"
            assert [line async for line in lines if line][-1] == "data: [DONE]"
        await stopping


async def until(happened) -> None:
    while not happened():
        await asyncio.sleep(0.01)
