"""Errors of a handler as gRPC statuses: one clear line for the caller, the traceback for the log.

A handler raises; `status_of` chooses the status. Callers never see a traceback, a path or a process id: an unexpected
error becomes INTERNAL with an incident id that is in the log too. The trailing metadata key `retry-after-ms` says how
long to wait before trying again.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

import grpc

RETRY_AFTER_KEY = "retry-after-ms"
MAX_MESSAGE = 1000  # characters; longer ones meet the limits of HTTP/2 trailers


class ServiceError(Exception):
    """A failure with its status. `retry_after`: seconds after which the caller should try again; 0: it should not."""

    def __init__(self, code: grpc.StatusCode, message: str, retry_after: float = 0.0):
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after = retry_after

    @classmethod
    def at_capacity(cls, what: str, limit: int, retry_after: float = 1.0) -> ServiceError:
        """RESOURCE_EXHAUSTED: `what` is used up to `limit`."""
        return cls.busy(f"at capacity: {limit} {what} in use", retry_after)

    @classmethod
    def busy(cls, reason: str, retry_after: float) -> ServiceError:
        """RESOURCE_EXHAUSTED for a while."""
        return cls(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{reason}; try again in {retry_after:g} s", retry_after)

    @classmethod
    def too_much(cls, message: str) -> ServiceError:
        """RESOURCE_EXHAUSTED for a request that will never fit; the message states the limit."""
        return cls(grpc.StatusCode.RESOURCE_EXHAUSTED, message)


@dataclass(frozen=True)
class Status:
    code: grpc.StatusCode
    message: str
    retry_after: float = 0.0  # seconds
    unexpected: bool = False  # the log should carry the traceback

    @property
    def trailing_metadata(self) -> tuple[tuple[str, str], ...]:
        if self.retry_after <= 0:
            return ()
        return ((RETRY_AFTER_KEY, str(round(self.retry_after * 1000))),)


def status_of(error: Exception) -> Status:
    """The status of a handler's exception."""
    if isinstance(error, ServiceError):
        return Status(error.code, error.message[:MAX_MESSAGE], error.retry_after)
    if isinstance(error, ValueError):
        return Status(grpc.StatusCode.INVALID_ARGUMENT, str(error)[:MAX_MESSAGE])
    if isinstance(error, TimeoutError):
        return Status(grpc.StatusCode.DEADLINE_EXCEEDED, str(error)[:MAX_MESSAGE] or "the deadline has passed")
    incident = uuid.uuid4().hex[:12]
    message = f"internal error, incident {incident}: the service's log has the cause under this id"
    return Status(grpc.StatusCode.INTERNAL, message, unexpected=True)


def retry_after(error: grpc.RpcError) -> float:
    """Seconds that the service asks this caller to wait before trying again; 0 where it does not ask."""
    for key, value in error.trailing_metadata() or ():
        if key == RETRY_AFTER_KEY and str(value).isdigit():
            return int(value) / 1000
    return 0.0


def first_of(error: BaseException) -> Exception:
    """What a group of tasks failed of."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error if isinstance(error, Exception) else RuntimeError(f"the turn was stopped by {type(error).__name__}")
