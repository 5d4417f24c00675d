"""Fields of a wrong kind are refused by name, also where they lie deep, and the session goes on."""

from __future__ import annotations

import json
from typing import Any

import pytest


def session(**fields: Any) -> dict[str, Any]:
    return {"type": "session.update", "session": {"type": "realtime", **fields}}


def detection(**options: Any) -> dict[str, Any]:
    return session(audio={"input": {"turn_detection": {"type": "server_vad", **options}}})


def item(**fields: Any) -> dict[str, Any]:
    return {"type": "conversation.item.create", "item": fields}


WRONG = [
    ({"type": []}, "type"),
    ({"type": {"a": 1}}, "type"),
    (session(max_output_tokens="5"), "session.max_output_tokens"),
    (session(tools=[{"type": "function", "name": "f", "parameters": 3}]), "session.tools.0.parameters"),
    (detection(threshold="0.5"), "session.audio.input.turn_detection.threshold"),
    (detection(silence_duration_ms="500"), "session.audio.input.turn_detection.silence_duration_ms"),
    (detection(create_response="false"), "session.audio.input.turn_detection.create_response"),
    (item(type=[], role="user"), "item.type"),
    (item(type="message", role={}, content=[]), "item.role"),
    ({"type": "response.create", "response": {"max_output_tokens": "5"}}, "response.max_output_tokens"),
    ({"type": "response.create", "response": {"input": [{"type": {}}]}}, "response.input.0.type"),
]


async def test_a_field_of_a_wrong_kind_is_named(realtime):
    for message, param in WRONG:
        await realtime.socket.send(json.dumps(message))
        error = (await realtime.until("error"))[-1]["error"]
        assert error["type"] == "invalid_request_error" and error["param"] == param, (message, error)
    assert (await realtime.update())["type"] == "realtime"


@pytest.mark.parametrize("audio", [None, {"input": None}, {"output": None}, {"output": {"voice": None}}])
async def test_null_where_nothing_can_be_cleared_changes_nothing(realtime, audio):
    before = await realtime.update()
    assert await realtime.update(audio=audio) == before
    await realtime.add("hello")
    if audio is None or "output" in audio:
        response = (await realtime.respond(audio=audio, output_modalities=["audio"]))[-1]["response"]
        assert response["audio"]["output"]["voice"] == before["audio"]["output"]["voice"]


@pytest.mark.parametrize("format", [None, {}, {"type": "audio/pcm"}])
async def test_a_format_that_says_little_is_pcm(realtime, format):
    await realtime.add("hello")
    came = await realtime.respond(audio={"output": {"format": format}})
    assert came[-1]["response"]["audio"]["output"]["format"] == {"type": "audio/pcm", "rate": 24_000}
    assert any(event["type"] == "response.output_audio.delta" for event in came)


async def test_log_probabilities_are_refused_where_only_speech_is_written_down(make_gateway, open_realtime):
    client = await open_realtime(await make_gateway(), "intent=transcription")
    fields = {"type": "transcription", "include": ["item.input_audio_transcription.logprobs"]}
    assert await client.refusal("session.update", session=fields) == ("invalid_value", "session.include")
