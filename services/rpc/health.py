"""The standard health service `grpc.health.v1`: a process serves once its model has answered a warm-up.

Under Ray Serve a replica's server is reached only after the servicer was built, so the same switch serves both.
"""

from __future__ import annotations

import asyncio

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.rpc import contracts

SERVICE_NAME = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name


class Health(health_pb2_grpc.HealthServicer):
    """Answers NOT_SERVING until `ready` is set to True, and again once it is set to False for a graceful stop.

    `servicer`: where it has an attribute `alive`, that must be True as well.
    """

    def __init__(self, servicer: object = None) -> None:
        self.ready = False
        self.servicer = servicer

    @property
    def serving(self) -> bool:
        return self.ready and getattr(self.servicer, "alive", True)

    def _answer(self) -> health_pb2.HealthCheckResponse:
        answer = health_pb2.HealthCheckResponse
        return answer(status=answer.SERVING if self.serving else answer.NOT_SERVING)

    async def Check(self, request, context):
        await _refuse_undecodable(request, context)
        return self._answer()

    async def Watch(self, request, context):
        await _refuse_undecodable(request, context)
        sent = None
        while True:
            if self.serving != sent:
                sent = self.serving
                yield self._answer()
            await asyncio.sleep(0.5)


async def _refuse_undecodable(request, context) -> None:
    try:
        contracts.readable(request)
    except ValueError as error:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))


process_health = Health()  # of this process


def add_to_server(server, health: Health = process_health) -> None:
    """Registers a health, by default this process's, with a `grpc.aio` server or a replica's Ray Serve server."""
    if hasattr(server, "add_passthrough_service"):  # Ray Serve: answer here, do not route to the deployment
        server.add_passthrough_service(SERVICE_NAME)
    contracts.add_to_server(health_pb2_grpc.add_HealthServicer_to_server, health, server)


def register(_servicer, server) -> None:
    """`add_to_server` with the signature that Ray Serve's `grpc_servicer_functions` have."""
    add_to_server(server)
