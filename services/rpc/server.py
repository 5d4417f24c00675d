"""A service under plain `grpc.aio`, without Ray: for tests, and for running one service alone."""

from __future__ import annotations

import gc

import grpc

from services.registry import Service
from services.rpc import health
from services.rpc.sizes import MAX_MESSAGE_BYTES
from services.rpc.token_guard import add_to_server

MESSAGE_LIMITS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
)


async def start_server(service: Service, servicer, address: str = "127.0.0.1:0") -> tuple[grpc.aio.Server, int]:
    """A started `grpc.aio` server of one service, and its port. The servicer must have been started."""
    server = grpc.aio.server(options=MESSAGE_LIMITS)
    add_to_server(service, servicer, server)
    own = health.Health(servicer)
    health.add_to_server(server, own)
    port = server.add_insecure_port(address)
    await server.start()
    own.ready = True
    return server, port


def freeze_loaded_objects() -> None:
    """Exempts all present objects from garbage collection, which would stop the process for 0.2 s to traverse them.

    Called once a process has loaded and warmed up, before its first request.
    """
    gc.collect()
    gc.freeze()
