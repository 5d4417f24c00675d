"""Calls to the services over gRPC: tried again where the connection is lost, with a new description after it."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from protos.parley.v1 import language_model_pb2_grpc, vision_encoder_pb2_grpc
from protos.parley.v1.language_model_pb2 import GenerateDone, GenerateOpen, GenerateRequest, GenerateResponse
from protos.parley.v1.model_info_pb2 import ModelInfo
from protos.parley.v1.vision_encoder_pb2 import EncodeVisionRequest, EncodeVisionResponse
from services.gateway.settings import UpstreamSettings
from services.gateway.upstream.calls import CallContext
from services.gateway.upstream.connections import Connections
from services.gateway.upstream.services import Services
from services.registry import SERVICES
from services.rpc import streams
from services.rpc.errors import ServiceError
from services.rpc.server import start_server


class VisionEncoder(vision_encoder_pb2_grpc.VisionEncoderServicer):
    """Fails with each of `failures` before it answers. Its weights count its descriptions."""

    def __init__(self) -> None:
        self.failures, self.described, self.metadata = [], 0, {}
        self.hangs, self.encoded = False, 0  # whether the next call has no answer; calls

    async def Describe(self, request, context):
        self.described += 1
        if grpc.StatusCode.UNAUTHENTICATED in self.failures:
            await context.abort(self.failures.pop(0), "no token")
        return ModelInfo(weights=str(self.described))

    async def Encode(self, request, context):
        self.metadata = dict(context.invocation_metadata())
        self.encoded += 1
        if self.hangs:
            self.hangs = False
            await asyncio.sleep(600)
        if self.failures:
            await context.abort(self.failures.pop(0), "no")
        return EncodeVisionResponse(weights="w")


class LanguageModel(language_model_pb2_grpc.LanguageModelServicer):
    """Answers with what it was sent, and the seconds that the call may still take."""

    async def Generate(self, requests, context):
        text = ",".join([f"{request.sequence} {request.WhichOneof('message')}" async for request in requests])
        yield GenerateResponse(done=GenerateDone(text=text, prefill_seconds=context.time_remaining()))


@pytest.fixture
async def vision():
    return VisionEncoder()


@pytest.fixture
async def services(vision):
    servers, addresses = [], {}
    for name, servicer in (("vision_encoder", vision), ("llm_core", LanguageModel())):
        server, port = await start_server(SERVICES[name], servicer)
        servers.append(server)
        addresses[name] = f"127.0.0.1:{port}"
    settings = UpstreamSettings(addresses="127.0.0.1:9", recovery_seconds=0.2, hedging_seconds=0.2, **addresses)
    services = Services(settings, "a", connections := Connections(settings))
    yield services
    await services.close()
    await connections.close()
    for server in servers:
        await server.stop(None)


async def test_a_lost_call_is_made_again_and_the_service_described_anew(services, vision):
    assert (await services.describe("vision_encoder")).weights == "1"
    assert (await services.describe("vision_encoder")).weights == "1"  # within `describe_seconds`
    vision.failures = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL]
    answer = await services.encode_images(EncodeVisionRequest(session_id="s", turn_id="t"), timeout=5)
    assert answer.weights == "w" and not vision.failures
    sent = {name: vision.metadata[name] for name in ("application", "session_id", "request_id")}
    assert sent == {"application": "vision_encoder", "session_id": "s", "request_id": "t"}
    assert (await services.describe("vision_encoder")).weights == "2"


async def test_a_picture_goes_to_another_replica_where_one_hangs(services, vision):
    vision.hangs = True
    answer = await services.encode_images(EncodeVisionRequest(), timeout=50)
    assert answer.weights == "w" and vision.encoded == 2


async def test_a_refusal_is_not_tried_again(services, vision):
    vision.failures = [grpc.StatusCode.INVALID_ARGUMENT] * 2
    with pytest.raises(ServiceError, match="vision_encoder: no"):
        await services.encode_images(EncodeVisionRequest(), timeout=5)
    assert len(vision.failures) == 1


async def test_a_service_out_of_reach_is_unavailable(services):
    with pytest.raises(ServiceError, match="speech_decoder service cannot be reached") as caught:
        await services.describe("speech_decoder")
    assert caught.value.code == grpc.StatusCode.UNAVAILABLE and caught.value.retry_after > 0


async def test_another_token_than_the_services_is_told_at_once(services, vision):
    vision.failures = [grpc.StatusCode.UNAUTHENTICATED]
    with pytest.raises(ServiceError, match="vision_encoder refuses the gateway's token: PARLEY_") as caught:
        await services.describe("vision_encoder")
    assert caught.value.code == grpc.StatusCode.FAILED_PRECONDITION and vision.described == 1


async def test_a_stream_is_numbered_and_has_the_deadline_of_its_turn(services):
    async def requests():
        for _ in range(3):
            yield GenerateRequest(open=GenerateOpen())

    context = CallContext("s", "t", streams.deadline_in(100))
    async with services.stream("llm_core", requests(), context) as stream:
        (answer,) = [answer async for answer in stream]
    assert answer.done.text == "0 open,1 open,2 open" and 0 < answer.done.prefill_seconds < 200
