"""Connections: turns among addresses, and what is asked of a service of which some addresses do not answer."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from protos.parley.v1 import language_model_pb2_grpc
from protos.parley.v1.model_info_pb2 import DescribeRequest, ModelInfo
from services.gateway.settings import UpstreamSettings
from services.gateway.upstream.calls import CallContext
from services.gateway.upstream.connections import Connections, _channel, metadata_for
from services.registry import SERVICES
from services.rpc.decorator import TOKEN_VARIABLE
from services.rpc.server import start_server

NOBODY = "127.0.0.1:9"


class LanguageModel(language_model_pb2_grpc.LanguageModelServicer):
    def __init__(self) -> None:
        self.alive, self.metadata = True, []

    async def Describe(self, request, context):
        self.metadata = list(context.invocation_metadata())
        return ModelInfo(service="llm_core", weights="w")


@pytest.fixture
async def llm_core():
    """(servicer, address)"""
    servicer = LanguageModel()
    server, port = await start_server(SERVICES["llm_core"], servicer)
    yield servicer, f"127.0.0.1:{port}"
    await server.stop(None)


@pytest.fixture
async def connect():
    opened = []

    def connect(**settings) -> Connections:
        opened.append(Connections(UpstreamSettings(addresses=NOBODY, **settings)))
        return opened[-1]

    yield connect
    for connections in opened:
        await connections.close()


async def test_each_stub_is_of_the_next_address_then_of_the_next_connection(connect, monkeypatch):
    monkeypatch.setattr("services.registry.Service.stub", property(lambda service: lambda channel: channel))
    connections = connect(llm_core="127.0.0.1:1,127.0.0.1:2", channels=2)
    channels = [connections.stub("llm_core") for _ in range(5)]
    assert len(set(channels[:4])) == 4 and channels[4] is channels[0]
    first, second = (set(connections._channels[address]) for address in ("127.0.0.1:1", "127.0.0.1:2"))
    assert [channel in first for channel in channels[:4]] == [True, False, True, False] and second


async def test_the_first_address_that_answers_describes_the_service(connect, llm_core):
    servicer, address = llm_core
    assert (await connect(llm_core=f"{NOBODY},{address}").describe("llm_core")).weights == "w"
    assert ("application", "llm_core") in servicer.metadata
    with pytest.raises(grpc.RpcError):
        await connect(llm_core=f"{NOBODY},{NOBODY}").describe("llm_core")


async def test_a_service_is_ready_where_one_of_its_addresses_serves(connect, llm_core):
    servicer, address = llm_core
    connections = connect(llm_core=f"{NOBODY},{address}")
    alone = {service: service == "llm_core" for service in SERVICES}
    assert await connections.ready() == alone
    servicer.alive = False  # it answers that it does not serve
    assert not any((await connections.ready()).values())


async def test_calls_take_turns_among_the_proxies_behind_a_name():
    servicers = [LanguageModel(), LanguageModel()]
    started = [await start_server(SERVICES["llm_core"], servicer) for servicer in servicers]
    async with _channel("ipv4:" + ",".join(f"127.0.0.1:{port}" for _, port in started)) as channel:
        stub = language_model_pb2_grpc.LanguageModelStub(channel)
        await stub.Describe(DescribeRequest(), wait_for_ready=True)
        for _ in range(200):  # the second connection may be a moment later than the first
            await stub.Describe(DescribeRequest())
            if all(servicer.metadata for servicer in servicers):
                break
            await asyncio.sleep(0.01)
        assert all(servicer.metadata for servicer in servicers)
        await started[0][0].stop(None)
        for _ in range(4):
            assert (await stub.Describe(DescribeRequest(), wait_for_ready=True)).weights == "w"
    await started[1][0].stop(None)


def test_the_metadata_of_a_call(monkeypatch):
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    assert metadata_for("llm_core") == [("application", "llm_core")]
    monkeypatch.setenv(TOKEN_VARIABLE, "secret")
    assert dict(metadata_for("llm_core", CallContext("s", "t"))) == {
        "application": "llm_core", "session_id": "s", "request_id": "t", "authorization": "Bearer secret",
    }  # fmt: skip
