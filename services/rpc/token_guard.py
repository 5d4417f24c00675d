"""Asks for the token of a call before its message is received: a message may be as large as the server takes.

`services.rpc.token_guard.VisionEncoder`, and so on for each contract, are the functions that Serve calls with a server.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

import grpc

from services.registry import SERVICES, Service, import_path
from services.rpc.contracts import lenient
from services.rpc.decorator import authenticate
from services.rpc.errors import ServiceError
from services.telemetry import logs, metrics

Find = Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler | None]

log = logs.get_logger(__name__)


def __getattr__(name: str) -> Callable:
    for service in SERVICES.values():
        if service.contract_name == name:
            return functools.partial(add_to_server, service)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def add_to_server(service: Service, servicer, server: grpc.aio.Server) -> None:
    """Registers a servicer that is only called with the token."""
    import_path(service.generated_add_to_server)(servicer, _GuardedServer(service, server))


class _GuardedServer:
    """Takes the handlers of a contract. What finds the handler of a call has its metadata, and not yet its message."""

    def __init__(self, service: Service, server: grpc.aio.Server):
        self._service, self._server = service, server

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        for handler in handlers:
            handler.service = functools.partial(_find, self._service, handler.service)
        self._server.add_generic_rpc_handlers(handlers)

    def add_registered_method_handlers(self, name: str, handlers: Mapping[str, grpc.RpcMethodHandler]) -> None:
        """The same handlers, which gRPC would find without asking."""


def _find(service: Service, find: Find, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
    handler = find(details)
    if handler is None:
        return None
    try:
        authenticate(details.invocation_metadata)
    except ServiceError as error:
        metrics.REFUSED.labels(service.name, "token").inc()
        log.warning("call refused", method=details.method, code=error.code.name, message=error.message)
        return _refusal(error)
    return lenient(handler)


def _refusal(error: ServiceError) -> grpc.RpcMethodHandler:
    """A handler that reads no message."""

    async def refuse(messages, context: grpc.aio.ServicerContext) -> None:
        await context.abort(error.code, error.message)

    return grpc.stream_stream_rpc_method_handler(refuse)
