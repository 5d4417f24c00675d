"""Health of a service as its node's proxy tells it: `python -m services.ray.probe SERVICE [HOST:PORT]`.

Ends with 0 where the model of one release answers, else with 1. `/-/healthz` of Serve only tells that the proxy runs.
"""

from __future__ import annotations

import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.ray.serve_config import GRPC_PORT, SLOTS, application_name

SECONDS = 4.0  # for each slot


def serves(service: str, address: str) -> bool:
    """Whether the application of any slot is healthy."""
    with grpc.insecure_channel(address) as channel:
        return any(_answers(channel, application_name(service, slot)) for slot in SLOTS)


def _answers(channel: grpc.Channel, application: str) -> bool:
    try:
        answer = health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(), timeout=SECONDS, metadata=[("application", application)]
        )
    except grpc.RpcError:
        return False
    return answer.status == health_pb2.HealthCheckResponse.SERVING


if __name__ == "__main__":
    service, *address = sys.argv[1:]
    sys.exit(0 if serves(service, *(address or [f"127.0.0.1:{GRPC_PORT}"])) else f"{service} does not serve")
