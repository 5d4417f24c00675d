"""The health of a service, over a real gRPC server that looks at `application` as Serve's proxy does."""

from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.ray.probe import serves

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


class Proxy(health_pb2_grpc.HealthServicer):
    def __init__(self, applications):
        self.applications = applications

    def Check(self, request, context):
        name = dict(context.invocation_metadata())["application"]
        if name not in self.applications:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no application {name}")
        return health_pb2.HealthCheckResponse(status=self.applications[name])


@pytest.mark.parametrize(
    ("applications", "expected"),
    [
        ({"llm_core": SERVING}, True),
        ({"llm_core-b": SERVING}, True),  # after a promotion
        ({"llm_core": NOT_SERVING, "llm_core-b": SERVING}, True),
        ({"llm_core": NOT_SERVING}, False),
        ({"speech_encoder": SERVING}, False),
    ],
)
def test_a_service_serves_where_the_model_of_one_slot_answers(applications, expected):
    server = grpc.server(ThreadPoolExecutor(2))
    health_pb2_grpc.add_HealthServicer_to_server(Proxy(applications), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        assert serves("llm_core", f"127.0.0.1:{port}") is expected
    finally:
        server.stop(0).wait()


def test_no_proxy_is_no_service():
    assert serves("llm_core", "127.0.0.1:9") is False
