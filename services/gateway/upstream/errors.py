"""What a failed call to a service means for the gateway."""

from __future__ import annotations

import grpc

from services.gateway.upstream.calls import ConnectionLostError
from services.rpc.errors import ServiceError, retry_after

_LOST = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.NOT_FOUND,  # of a proxy that has just started and knows no application yet; no service sends it
)
_INCIDENT = "internal error, incident"  # a service's own failure, which has been logged there


def failure(service: str, error: grpc.RpcError) -> Exception:
    """`ConnectionLostError`, or the `ServiceError` that the client is told.

    A status without a message of our own (INTERNAL, CANCELLED that nobody asked for, UNAVAILABLE) means that a process
    died or a link broke, NOT_FOUND that a proxy is starting.
    """
    code, details = error.code(), error.details() or ""
    if code in _LOST and not details.startswith(_INCIDENT):
        return ConnectionLostError(f"{service}: {code.name} {details[:200]}")
    return ServiceError(code, f"{service}: {details[:500]}", retry_after(error))
