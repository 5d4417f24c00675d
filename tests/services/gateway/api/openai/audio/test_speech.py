"""`/v1/audio/speech` by the official client and by hand, before the real services."""

from __future__ import annotations

import asyncio
import base64
import io
import json

import numpy as np
import pytest
import soundfile

from training.data.speak.http import HttpEngine

BODY = {"model": "tts-1", "voice": "alloy", "input": "the red square is left of the blue triangle."}
SPEECH = "/v1/audio/speech"


@pytest.mark.parametrize(
    ("format", "media_type"),
    [("mp3", "audio/mpeg"), ("opus", "audio/ogg"), ("flac", "audio/flac"), ("wav", "audio/wav"), ("pcm", "audio/pcm")],
)
async def test_a_text_is_spoken_in_every_format(client, format, media_type):
    spoken = await client.audio.speech.create(**BODY, response_format=format)
    assert spoken.response.headers["content-type"] == media_type
    if format == "pcm":
        assert len(spoken.content) > 4800
    else:
        samples, rate = soundfile.read(io.BytesIO(spoken.content))
        assert rate == 24_000 and len(samples) > 2400 and np.abs(samples).max() > 0


async def test_it_is_sent_while_it_is_spoken(client):
    async with client.audio.speech.with_streaming_response.create(**BODY, response_format="pcm") as stream:
        assert stream.headers["transfer-encoding"] == "chunked"
        pieces = [piece async for piece in stream.iter_bytes()]
    assert len(pieces) > 1


async def test_events_hold_the_audio_and_end_with_usage(http, conforms):
    response = await http.post(SPEECH, json=BODY | {"stream_format": "sse", "response_format": "wav"})
    events = [json.loads(line.removeprefix("data: ")) for line in response.text.strip().split("\n\n")]
    for event in events:
        conforms(event, "CreateSpeechResponseStreamEvent")
    audio = b"".join(base64.b64decode(event["audio"]) for event in events[:-1])
    samples, rate = soundfile.read(io.BytesIO(audio))
    usage = events[-1]["usage"]
    assert rate == 24_000 and len(samples) > 2400
    assert 5 < usage["input_tokens"] < len(BODY["input"]) and usage["output_tokens"] > 0


async def test_a_speaker_of_the_checkpoint_is_a_voice(client):
    assert len((await client.audio.speech.create(**BODY | {"voice": "default"}, response_format="pcm")).content) > 4800


@pytest.mark.parametrize(
    ("changes", "status", "code", "param"),
    [
        ({"model": "llama"}, 404, "model_not_found", "model"),
        ({"input": ""}, 400, "invalid_value", "input"),
        ({"input": "x" * 4097}, 400, "invalid_value", "input"),
        ({"voice": "nobody"}, 400, "invalid_value", "voice"),
        ({"voice": 5}, 400, "invalid_type", "voice"),
        ({"response_format": "aac"}, 400, "unsupported_value", "response_format"),
        ({"speed": 2}, 400, "invalid_value", "speed"),
        ({"stream_format": "websocket"}, 400, "unsupported_value", "stream_format"),
        ({"pitch": 2}, 400, "unknown_parameter", "pitch"),
    ],
)
async def test_what_is_wrong_with_a_request_is_named(http, changes, status, code, param):
    response = await http.post(SPEECH, json=BODY | changes)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (status, code, param), error["message"]


async def test_parley_data_speak_makes_its_questions_here(gateway):
    engine = HttpEngine(f"http://127.0.0.1:{gateway.http_port}/v1", "tts-1")
    audio = await asyncio.to_thread(engine.speak, "Is the red square left of it?", "alloy", 1.0)
    engine.close()
    assert audio.dtype == np.float32 and 0.2 < len(audio) / 16_000 < 10
