"""A service whose engine answers at once: what remains of a call is the way to the engine and back.

    python -m benchmarks.echo_service serve GRPC_PORT HTTP_PORT RUNTIME_DIR     under Ray Serve
    python -m benchmarks.echo_service plain                                     under `grpc.aio`; prints its port
    python -m benchmarks.echo_service bare                                      no service: bytes echoed by `grpc.aio`

All stay until SIGTERM.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import grpc
import torch

from protos.parley.v1.model_info_pb2 import ModelInfo
from protos.parley.v1.speech_encoder_pb2 import EncodeSpeechResponse, SpeechChunk
from protos.parley.v1.speech_encoder_pb2_grpc import SpeechEncoderServicer
from services.engine.settings import ServiceSettings
from services.engine.thread import EngineThread, Request
from services.registry import SERVICES
from services.rpc import streams
from services.rpc.decorator import rpc
from services.rpc.server import start_server

BUSY = b"\x01"
STEP_SECONDS = 0.01

SPEC = replace(
    SERVICES["speech_encoder"],  # whose contract it speaks, as its application
    servicer="benchmarks.echo_service:EchoService",
    settings="benchmarks.echo_service:EchoSettings",
)


class EchoSettings(ServiceSettings):
    threads: int = 1


class EchoEngine(EngineThread):
    """A message that begins with `BUSY` has it compute, as an engine goes on with the next step of an answer."""

    service = SPEC.name

    def __init__(self, settings: EchoSettings):
        super().__init__(settings)
        self._weight, self._busy = torch.randn(256, 256), False

    def apply(self, kind: str, request: Request, content: bytes) -> None:
        self._busy = content.startswith(BUSY)
        self.emit(request, content)

    def step(self) -> bool:
        """Small operations, one after another, as those of a small network."""
        if self._busy:
            x, until = torch.randn(1, 256), time.monotonic() + STEP_SECONDS
            while time.monotonic() < until:
                x = torch.nn.functional.gelu(torch.nn.functional.linear(x, self._weight))
        worked, self._busy = self._busy, False
        return worked

    def free(self, request: Request) -> None:
        pass


class EchoService(SpeechEncoderServicer):
    """Every message goes to the engine's thread and comes back, as in a real service."""

    service = SPEC.name

    def __init__(self, settings: EchoSettings):
        self.settings, self.engine = settings, EchoEngine(settings)

    async def start(self) -> None:
        self.engine.start()

    async def stop(self) -> None:
        await asyncio.to_thread(self.engine.stop)

    def open(self) -> Request:
        request = Request(self.engine)
        self.engine.admit(request, 64, "requests")
        return request

    @rpc
    async def Describe(self, request, context) -> ModelInfo:
        await echo(self.open(), b"")
        return ModelInfo(service=self.service)

    @rpc
    async def Encode(self, request_iterator, context) -> AsyncIterator[EncodeSpeechResponse]:
        messages = streams.read(request_iterator, last="end", idle=self.settings.idle_seconds)
        await anext(messages)
        request, sequence = self.open(), 0
        async with request.fed_by(feed, request, messages):
            while True:
                data = await request.next_within(streams.HEARTBEAT_SECONDS)
                if data is None:
                    yield EncodeSpeechResponse()
                    continue
                yield EncodeSpeechResponse(sequence=sequence, chunk=SpeechChunk(transcript=str(len(data))))
                sequence += 1


async def feed(request: Request, messages: AsyncIterator[tuple[str, bytes]]) -> None:
    async for _, data in messages:
        request.post("echo", data)


async def echo(request: Request, content: bytes) -> bytes:
    """Once to the engine's thread and back."""
    request.post("echo", content)
    try:
        return await request.next()
    finally:
        request.close()


async def serve_plain() -> None:
    servicer = EchoService(EchoSettings())
    await servicer.start()
    server, port = await start_server(SPEC, servicer)
    print(port, flush=True)
    await server.wait_for_termination()


async def serve_bytes() -> None:
    async def stream(messages, context):
        async for message in messages:
            yield message

    async def unary(message, context):
        return message

    methods = {
        "stream": grpc.stream_stream_rpc_method_handler(stream),
        "unary": grpc.unary_unary_rpc_method_handler(unary),
    }
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bare", methods),))
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    await server.wait_for_termination()


def serve_under_ray(grpc_port: str, http_port: str, runtime_dir: str) -> None:
    from services.local.node import run, wait_for_the_end
    from services.ray.applications import application

    servicers = [SPEC.add_to_server, "services.rpc.health.register"]
    run({SPEC.name: application(SPEC)}, servicers, int(grpc_port), int(http_port), Path(runtime_dir))
    print("ready", flush=True)
    wait_for_the_end({})


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["plain"]:
            asyncio.run(serve_plain())
        case ["bare"]:
            asyncio.run(serve_bytes())
        case ["serve", *arguments]:
            serve_under_ray(*arguments)
        case _:
            sys.exit(__doc__)
