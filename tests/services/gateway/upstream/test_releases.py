"""Releases: what a turn is bound to, what is counted, and which one a gateway finds that nobody has told."""

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from protos.parley.v1 import vision_encoder_pb2_grpc
from protos.parley.v1.model_info_pb2 import ModelInfo
from services.gateway.settings import UpstreamSettings
from services.gateway.upstream.releases import ServingReleases
from services.ray.serve_config import SLOTS


class Proxy(vision_encoder_pb2_grpc.VisionEncoderServicer, health_pb2_grpc.HealthServicer):
    """As Serve's: the application that a call names decides what answers. `slots`: those that are deployed."""

    def __init__(self, slots):
        self.slots = slots

    async def _slot(self, context) -> str:
        application = dict(context.invocation_metadata())["application"]
        slot = application.rpartition("-")[2] if "-" in application else SLOTS[0]
        if slot not in self.slots:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no application {application}")
        return slot

    async def Check(self, request, context):
        await self._slot(context)
        return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)

    async def Describe(self, request, context):
        return ModelInfo(weights=f"weights of {await self._slot(context)}")


@pytest.fixture
async def proxy():
    return Proxy(set(SLOTS))


@pytest.fixture
async def releases(proxy):
    server = grpc.aio.server()
    vision_encoder_pb2_grpc.add_VisionEncoderServicer_to_server(proxy, server)
    health_pb2_grpc.add_HealthServicer_to_server(proxy, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    releases = ServingReleases(UpstreamSettings(addresses=f"127.0.0.1:{port}", recovery_seconds=0.1))
    yield releases
    await releases.close()
    await server.stop(None)


async def weights(calls) -> str:
    return (await calls.describe("vision_encoder")).weights


async def test_a_turn_keeps_the_release_that_it_began_with(releases):
    with releases.bind() as calls:
        releases.use("b")
        with releases.bind() as later:
            assert (await weights(calls), await weights(later)) == ("weights of a", "weights of b")
            assert releases.report().model_dump() == {"slot": "b", "turns": {"a": 1, "b": 1}}
    assert releases.report().turns == {"a": 0, "b": 0}
    assert releases.current is later


@pytest.mark.parametrize(("deployed", "found", "slot"), [("a", True, "a"), ("b", True, "b"), ("", False, "a")])
async def test_a_gateway_that_nobody_has_told_takes_the_release_that_serves(releases, proxy, deployed, found, slot):
    proxy.slots = set(deployed)
    assert await releases.find() is found
    assert releases.slot == slot


async def test_a_slot_that_there_is_not_is_refused(releases):
    with pytest.raises(ValueError, match="there is no slot 'c'; the slots are a, b"):
        releases.use("c")
    assert releases.slot == "a"


@pytest.mark.parametrize(("deployed", "slot"), [("ab", "a"), ("b", "b"), ("", "a")])
async def test_another_release_stands_in_for_one_that_is_gone(releases, proxy, deployed, slot):
    proxy.slots = set(deployed)
    assert await releases.stand_in("a") == slot
