"""Every error is in OpenAI's form, names the field at fault, and carries the request's id."""

from __future__ import annotations

import base64
import json

import httpx
import openai
import pytest

CHAT = "/v1/chat/completions"
HELLO = {"role": "user", "content": "hello"}
BODY = {"model": "parley", "messages": [HELLO], "max_tokens": 2}


def user(*parts: dict) -> dict:
    return {"messages": [{"role": "user", "content": list(parts)}]}


def image(url: str) -> dict:
    return user({"type": "image_url", "image_url": {"url": url}})


def audio(data: bytes | str, format: str = "wav") -> dict:
    data = data if isinstance(data, str) else base64.b64encode(data).decode()
    return user({"type": "input_audio", "input_audio": {"data": data, "format": format}})


def called(arguments: str, answered: str = "call_1") -> dict:
    """A call of an earlier answer, and its output."""
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    output = {"role": "tool", "tool_call_id": answered, "content": "3"}
    return {"messages": [HELLO, {"role": "assistant", "tool_calls": [call]}, output]}


def error_of(response) -> dict:
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"} and response.headers["x-request-id"].startswith("req_")
    return error


@pytest.mark.parametrize(
    ("changes", "status", "code", "param"),
    [
        ({"model": "llama"}, 404, "model_not_found", "model"),
        ({"model": None}, 400, "invalid_type", "model"),
        ({"messages": []}, 400, "invalid_value", "messages"),
        ({"messages": [{"role": "user"}]}, 400, "missing_required_parameter", "messages.0.content"),
        ({"messages": [{"role": "user", "content": 5}]}, 400, "invalid_type", "messages.0.content"),
        ({"messages": [{"role": "user", "content": []}]}, 400, "invalid_value", "messages.0.content"),
        ({"messages": [{"role": "function", "content": "1"}]}, 400, "invalid_value", "messages.0"),
        ({"messages": [HELLO, {"role": "assistant", "content": "hi"}]}, 400, "invalid_value", "messages.1.role"),
        ({"messages": [{"role": "system", "content": ""}]}, 400, "invalid_value", None),
        (user({"type": "file", "file": {}}), 400, "invalid_value", "messages.0.content.0"),
        (user({"type": "text", "text": 5}), 400, "invalid_type", "messages.0.content.0.text"),
        (user({"type": "text"}), 400, "missing_required_parameter", "messages.0.content.0.text"),
        (user({"type": "text", "text": "a", "x": 1}), 400, "unknown_parameter", "messages.0.content.0.x"),
        (image("http://127.0.0.1/a.png"), 400, "unsupported_value", "messages.0.content.0.image_url.url"),
        (image("file:///etc/passwd"), 400, "invalid_value", "messages.0.content.0.image_url.url"),
        (image("data:image/png;base64,!!"), 400, "invalid_value", "messages.0.content.0.image_url.url"),
        (image("data:image/png,abc"), 400, "invalid_value", "messages.0.content.0.image_url.url"),
        (image("data:text/html;base64,YQ=="), 400, "invalid_value", "messages.0.content.0.image_url.url"),
        (image("data:image/png;base64,YQ=="), 400, "invalid_value", "messages.0.content.0"),
        (image("data:image/png;base64,"), 400, "invalid_value", "messages.0.content.0"),
        (audio("!"), 400, "invalid_value", "messages.0.content.0.input_audio.data"),
        (audio(b"no sound"), 400, "invalid_value", "messages.0.content.0"),
        (audio(b"", "flac"), 400, "unsupported_value", "messages.0.content.0.input_audio.format"),
        (user({"type": "video", "video": []}), 400, "invalid_value", "messages.0.content.0.video"),
        (
            user({"type": "video", "video": ["data:image/png;base64,YQ=="] * 5}),
            413,
            "too_large",
            "messages.0.content.0",
        ),
        (user(*[{"type": "video", "video": ["x"]}] * 5), 413, "too_large", "messages.0"),
        ({"colour": "red"}, 400, "unknown_parameter", "colour"),
        ({"n": 2}, 400, "unsupported_value", "n"),
        ({"logprobs": True}, 400, "unsupported_value", "logprobs"),
        ({"top_logprobs": 2}, 400, "unsupported_parameter", "top_logprobs"),
        ({"logit_bias": {"5": 1}}, 400, "invalid_value", "logit_bias"),
        ({"functions": []}, 400, "unsupported_parameter", "functions"),
        ({"response_format": {"type": "json_object"}}, 400, "unsupported_value", "response_format.type"),
        ({"frequency_penalty": 0.5}, 400, "invalid_value", "frequency_penalty"),
        ({"temperature": 3}, 400, "invalid_value", "temperature"),
        ({"temperature": "hot"}, 400, "invalid_type", "temperature"),
        ({"top_p": -1}, 400, "invalid_value", "top_p"),
        ({"stop": ["a"] * 5}, 400, "invalid_value", "stop"),
        ({"stop": ""}, 400, "invalid_value", "stop"),
        ({"stop": [1]}, 400, "invalid_type", "stop.0"),
        ({"max_tokens": 0}, 400, "invalid_value", "max_tokens"),
        ({"max_completion_tokens": 5}, 400, "invalid_value", "max_tokens"),
        ({"stream_options": {}}, 400, "invalid_value", "stream_options"),
        ({"modalities": ["audio"]}, 400, "invalid_value", "modalities"),
        ({"modalities": ["text", "audio"]}, 400, "invalid_value", "audio"),
        ({"audio": {"voice": "alloy", "format": "wav"}}, 400, "invalid_value", "audio"),
        ({"audio": {"voice": "alloy", "format": "aac"}}, 400, "unsupported_value", "audio.format"),
        (called("{}", "another"), 400, "invalid_value", "messages.2.tool_call_id"),
        (called("no JSON"), 400, "invalid_value", "messages.1.tool_calls.0.function.arguments"),
        (called("[1]"), 400, "invalid_value", "messages.1.tool_calls.0.function.arguments"),
        (called("[" * 5000), 400, "invalid_value", "messages.1.tool_calls.0.function.arguments"),
        ({"tool_choice": "required"}, 400, "invalid_value", "tool_choice"),
        ({"tool_choice": {"type": "allowed_tools"}}, 400, "unsupported_value", "tool_choice"),
        ({"tools": [{"type": "custom"}]}, 400, "unsupported_value", "tools.0.type"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, 400, "invalid_value", "tools.0.function.name"),
    ],
)
async def test_what_is_wrong_with_a_chat_request_is_named(http, conforms, changes, status, code, param):
    response = await http.post(CHAT, json={**BODY, **changes})
    error = error_of(response)
    assert (response.status_code, error["code"], error["param"]) == (status, code, param), error["message"]
    conforms(response.json(), "ErrorResponse")


async def test_a_voice_that_is_unknown_is_refused_with_those_that_are_known(http):
    spoken = {"modalities": ["text", "audio"], "audio": {"voice": "nobody", "format": "wav"}}
    error = error_of(await http.post(CHAT, json=BODY | spoken))
    assert error["code"] == "invalid_value" and "alloy" in error["message"]
    streamed = BODY | spoken | {"stream": True}
    assert error_of(await http.post(CHAT, json=streamed))["param"] == "audio.format"


async def test_errors_of_the_protocol_are_in_the_same_form(http):
    for method, path, status, code in (
        ("GET", "/v1/nothing", 404, "not_found"),
        ("POST", "/v1/responses", 404, "not_found"),
        ("GET", CHAT, 405, "method_not_allowed"),
        ("GET", "/v1/models/llama", 404, "model_not_found"),
    ):
        response = await http.request(method, path)
        assert (response.status_code, error_of(response)["code"]) == (status, code)
    broken = await http.post(CHAT, content=b'{"model": ', headers={"content-type": "application/json"})
    assert (broken.status_code, error_of(broken)["code"]) == (400, "invalid_json")
    for content, kind in ((b"hello", "text/plain"), (b"", "application/json"), (b"\xff", "application/json")):
        response = await http.post(CHAT, content=content, headers={"content-type": kind})
        assert response.status_code == 400 and error_of(response)["type"] == "invalid_request_error"


async def test_a_body_above_the_limit_is_refused_before_it_is_read(make_gateway):
    gateway = await make_gateway(api__max_body_bytes=2000)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{gateway.http_port}") as http:
        large = json.dumps(BODY | {"user": "x" * 3000}).encode()
        response = await http.post(CHAT, content=large, headers={"content-type": "application/json"})
        assert (response.status_code, error_of(response)["code"]) == (413, "too_large")

        async def pieces():
            for _ in range(10):
                yield b" " * 1000

        response = await http.post(CHAT, content=pieces(), headers={"content-type": "application/json"})
        assert (response.status_code, error_of(response)["code"]) == (413, "too_large")


async def test_more_requests_than_are_served_are_told_when_to_try_again(make_gateway):
    gateway = await make_gateway(api__max_requests=1)
    spoken = {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "pcm16"}}
    body = BODY | spoken | {"stream": True, "max_tokens": 200}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{gateway.http_port}") as http:
        async with http.stream("POST", CHAT, json=body) as stream:
            await anext(stream.aiter_lines())
            response = await http.post(CHAT, json=BODY)
            assert response.status_code == 429 and error_of(response)["code"] == "rate_limit_exceeded"
            assert (response.headers["retry-after"], response.headers["retry-after-ms"]) == ("1", "1000")
            assert (await http.get("/healthz")).status_code == 200
        url = f"http://127.0.0.1:{gateway.http_port}/v1"
        async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=3) as client:  # it waits as it is told
            assert (await client.chat.completions.create(**BODY)).choices


async def test_requests_wait_while_conversations_do_not_keep_real_time(make_gateway, monkeypatch):
    gateway = await make_gateway(admission__always=0, admission__late_share=0.1)
    monkeypatch.setattr(gateway.backend.admission._pace, "late_share", lambda: 0.5)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{gateway.http_port}") as http:
        response = await http.post(CHAT, json=BODY)
        assert response.status_code == 429 and response.headers["retry-after"] == "4"
        assert error_of(response)["code"] == "rate_limit_exceeded"
        assert (await http.get("/v1/models")).status_code == 200


async def test_a_service_that_is_away_is_503_and_an_error_within_a_stream_is_a_line(make_gateway, monkeypatch):
    lame = await make_gateway(upstream__llm_core="127.0.0.1:9", upstream__recovery_seconds=0.1)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{lame.http_port}") as http:
        response = await http.post(CHAT, json=BODY | {"stream": True})
        assert response.status_code == 503 and error_of(response)["type"] == "server_error"
        assert int(response.headers["retry-after"]) >= 1
    lame = await make_gateway(upstream__speech_decoder="127.0.0.1:9", upstream__recovery_seconds=0.1)

    async def describe(service, original=lame.backend.releases.current.describe):
        from protos.parley.v1.model_info_pb2 import ModelInfo

        return ModelInfo(codec_frame_rate=1) if service == "speech_decoder" else await original(service)

    monkeypatch.setattr(lame.backend.releases.current, "describe", describe)
    spoken = {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "pcm16"}}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{lame.http_port}") as http:
        response = await http.post(CHAT, json=BODY | spoken | {"stream": True})
        assert response.status_code == 200 and "[DONE]" not in response.text
        *_, last, _ = response.text.split("\n\n")
        assert json.loads(last.removeprefix("data: "))["error"]["code"] == "service_unavailable"
