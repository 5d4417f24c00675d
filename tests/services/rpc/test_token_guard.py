"""What a service receives of a call that it refuses: by token, or by size."""

from __future__ import annotations

import asyncio
import contextlib

import echo
import grpc
import pytest

from protos.parley.v1 import vision_encoder_pb2
from protos.parley.v1.vision_encoder_pb2_grpc import VisionEncoderStub
from services.rpc.decorator import TOKEN_VARIABLE
from services.rpc.server import start_server
from services.rpc.sizes import MAX_MESSAGE_BYTES

LARGE = 40 << 20
WINDOW = 20 << 20  # bytes: more than gRPC, sockets and this relay hold of a message that nobody takes
TOKEN = (("authorization", "Bearer secret"),)


class Relay:
    """Between a client and a server; counts the bytes that the client has sent."""

    def __init__(self, port: int):
        self._port, self.received = port, 0

    @contextlib.asynccontextmanager
    async def listening(self):
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        async with server:
            yield server.sockets[0].getsockname()[1]

    async def _connected(self, reader, writer):
        there = await asyncio.open_connection("127.0.0.1", self._port)
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await asyncio.gather(self._copy(reader, there[1], True), self._copy(there[0], writer, False))

    async def _copy(self, reader, writer, counted: bool):
        while data := await reader.read(1 << 16):
            self.received += counted * len(data)
            writer.write(data)
            await writer.drain()
        writer.close()


@pytest.fixture
async def relayed(monkeypatch):
    """(stub, relay) of a service that asks for a token, with a client that may send any size."""
    monkeypatch.setenv(TOKEN_VARIABLE, "secret")
    server, port = await start_server(echo.VISION, echo.EchoVision(None))
    relay = Relay(port)
    options = [("grpc.max_send_message_length", -1)]
    async with relay.listening() as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}", options) as channel:
        yield VisionEncoderStub(channel), relay
    await server.stop(0)


async def refused(stub, size: int, metadata=()) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.Encode(vision_encoder_pb2.EncodeVisionRequest(image=bytes(size)), metadata=metadata, timeout=20)
    return raised.value.code()


async def test_a_message_is_not_received_before_the_token_is_checked(relayed):
    stub, relay = relayed
    for metadata in ((), (("authorization", "Bearer wrong"),)):
        assert await refused(stub, LARGE, metadata) is grpc.StatusCode.UNAUTHENTICATED
        assert relay.received < WINDOW
        relay.received = 0


async def test_a_message_above_the_limit_is_refused_by_its_header(relayed):
    stub, relay = relayed
    assert await refused(stub, 2 * MAX_MESSAGE_BYTES, TOKEN) is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert relay.received < WINDOW


async def test_a_large_message_with_the_token_is_answered(relayed):
    stub, relay = relayed
    answer = await stub.Encode(vision_encoder_pb2.EncodeVisionRequest(image=bytes(LARGE)), metadata=TOKEN, timeout=20)
    assert answer.pictures == LARGE and relay.received > LARGE
