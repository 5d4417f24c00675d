from types import SimpleNamespace

from grpc_health.v1.health_pb2 import HealthCheckResponse

from services.rpc.health import Health

SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING


async def test_a_process_serves_while_it_is_ready():
    health = Health()
    assert (await health.Check(None, None)).status == NOT_SERVING
    watched = health.Watch(None, None)
    assert (await anext(watched)).status == NOT_SERVING
    health.ready = True
    assert (await anext(watched)).status == SERVING
    await watched.aclose()


async def test_a_servicer_with_a_dead_engine_does_not_serve():
    servicer = SimpleNamespace(alive=True)
    health = Health(servicer)
    health.ready = True
    assert (await health.Check(None, None)).status == SERVING
    servicer.alive = False
    assert (await health.Check(None, None)).status == NOT_SERVING
