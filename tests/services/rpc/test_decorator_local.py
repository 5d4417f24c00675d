"""What `@rpc` counts, logs and requires, under `grpc.aio` in this process."""

import asyncio
import json
import logging
from types import SimpleNamespace

import echo
import grpc
import pytest
import pytest_asyncio
from prometheus_client import REGISTRY

from protos.parley.v1 import speech_encoder_pb2, vision_encoder_pb2
from protos.parley.v1.vision_encoder_pb2_grpc import VisionEncoderStub
from services.rpc.decorator import TOKEN_FILE_VARIABLE, TOKEN_VARIABLE
from services.rpc.errors import retry_after
from services.rpc.server import start_server
from services.telemetry import logs
from services.telemetry.session_hash import session_hash


@pytest_asyncio.fixture
async def stub():
    server, port = await start_server(echo.VISION, echo.EchoVision(None))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield VisionEncoderStub(channel)
    await server.stop(0)


def ended(code: str) -> float:
    labels = {"service": "echo_vision", "method": "Encode", "code": code}
    return REGISTRY.get_sample_value("parley_requests_total", labels) or 0.0


async def test_calls_are_counted_by_status(stub):
    good, bad = ended("OK"), ended("INVALID_ARGUMENT")
    await stub.Encode(vision_encoder_pb2.EncodeVisionRequest(image=b"1"))
    with pytest.raises(grpc.aio.AioRpcError):
        await stub.Encode(vision_encoder_pb2.EncodeVisionRequest(image=b"value"))
    assert (ended("OK") - good, ended("INVALID_ARGUMENT") - bad) == (1, 1)
    labels = {"service": "echo_vision", "method": "Encode"}
    assert REGISTRY.get_sample_value("parley_requests_in_flight", labels) == 0


async def test_the_log_has_the_cause_with_incident_and_ids(stub, tmp_path, monkeypatch):
    before = logging.getLogger().handlers
    monkeypatch.setenv(logs.LOG_DIR_VARIABLE, str(tmp_path))
    logs.configure("echo_vision")
    try:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.Encode(vision_encoder_pb2.EncodeVisionRequest(image=b"bug", session_id="s1", turn_id="t1"))
    finally:
        logging.getLogger().handlers = before
    incident = raised.value.details().split("incident ")[1].split(":")[0]
    lines = [json.loads(line) for line in (tmp_path / "echo_vision.jsonl").read_text().splitlines()]
    line = next(line for line in lines if incident in line.get("message", ""))
    assert (line["service"], line["session"], line["turn_id"]) == ("echo_vision", session_hash("s1"), "t1")
    assert "/a/secret/path" in line["exception"]


@pytest.mark.parametrize("in_a_file", [False, True])
async def test_a_token_is_required_where_one_is_set(stub, monkeypatch, tmp_path, in_a_file):
    if in_a_file:
        (tmp_path / "token").write_text("secret token\n")
        monkeypatch.setenv(TOKEN_FILE_VARIABLE, str(tmp_path / "token"))
    else:
        monkeypatch.setenv(TOKEN_VARIABLE, "secret token")
    for metadata in ((), (("authorization", "Bearer wrong"),)):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.Encode(vision_encoder_pb2.EncodeVisionRequest(image=b"1"), metadata=metadata)
        assert raised.value.code() == grpc.StatusCode.UNAUTHENTICATED
    answer = await stub.Encode(
        vision_encoder_pb2.EncodeVisionRequest(image=b"1"), metadata=(("authorization", "Bearer secret token"),)
    )
    assert answer.pictures == 1


async def test_more_calls_than_the_limit_are_refused_and_the_others_go_on():
    servicer = echo.EchoVision(echo.EchoSettings(max_streams=2))
    servicer.open_calls = 0
    server, port = await start_server(echo.VISION, servicer)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = VisionEncoderStub(channel)
        slow = [stub.Encode(vision_encoder_pb2.EncodeVisionRequest(image=b"slow")) for _ in range(2)]
        while servicer.open_calls < 2:
            await asyncio.sleep(0.01)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.Encode(vision_encoder_pb2.EncodeVisionRequest(image=b"1"))
        assert raised.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED and retry_after(raised.value) > 0
        assert not any(call.done() for call in slow)
        for call in slow:
            call.cancel()
        while servicer.open_calls:
            await asyncio.sleep(0.01)
        assert (await stub.Encode(vision_encoder_pb2.EncodeVisionRequest(image=b"1"))).pictures == 1
    await server.stop(0)


async def test_a_call_that_fails_and_is_cancelled_before_its_status_is_sent_has_ended():
    servicer, draining = echo.EchoSpeech(None), asyncio.Event()

    async def requests():
        yield speech_encoder_pb2.EncodeSpeechRequest(sequence=0, open={})
        yield speech_encoder_pb2.EncodeSpeechRequest(sequence=1, audio=b"full")
        draining.set()
        await asyncio.sleep(30)

    call = asyncio.create_task(anext(servicer.Encode(requests(), SimpleNamespace(invocation_metadata=lambda: ()))))
    await draining.wait()
    assert servicer.open_calls == 0
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert servicer.open_calls == 0
