"""Registers servicers with a server, so that a message that cannot be decoded is refused like any other bad input.

gRPC decodes a request before its handler is called. What it cannot decode it answers itself, with UNKNOWN and names of
Python classes or with a reset stream, and logs a traceback. Here the handler is given an `Undecodable` in its place.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError

Add = Callable[[Any, Any], None]  # what `protoc` generates: takes a servicer and a server


@dataclass(frozen=True)
class Undecodable:
    """In the place of a request."""

    size: int  # bytes

    def __str__(self) -> str:
        return f"a message of {self.size} bytes cannot be decoded; send what the contract in protos/ describes"


def add_to_server(generated: Add, servicer, server) -> None:
    """Calls the function that `protoc` generated. Servicers of services are registered by `token_guard`."""
    generated(servicer, _Server(server))


def readable(request: Any) -> Any:
    """A request, or the stream of them, as a handler is to read it. Raises `ValueError` for what is undecodable."""
    if isinstance(request, Undecodable):
        raise ValueError(str(request))
    return _Readable(aiter(request)) if hasattr(request, "__aiter__") else request


class _Readable:
    """A stream of requests that raises `ValueError` where one is undecodable."""

    def __init__(self, requests: AsyncIterator):
        self._requests = requests

    def __aiter__(self) -> _Readable:
        return self

    async def __anext__(self) -> Any:
        return readable(await anext(self._requests))


class _Server:
    """What generated code registers a servicer with."""

    def __init__(self, server):
        self._server = server

    def add_generic_rpc_handlers(self, handlers) -> None:
        """The same handlers as below, in an older form."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, grpc.RpcMethodHandler]) -> None:
        made = {name: lenient(handler) for name, handler in handlers.items()}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, made),))
        self._server.add_registered_method_handlers(service, made)


def lenient(handler: grpc.RpcMethodHandler) -> grpc.RpcMethodHandler:
    """The same, given an `Undecodable` in the place of a request that cannot be decoded."""
    return handler._replace(request_deserializer=functools.partial(_decode, handler.request_deserializer))


def _decode(decode: Callable[[bytes], Any], data: bytes) -> Any:
    try:
        return decode(data)
    except DecodeError:
        return Undecodable(len(data))
