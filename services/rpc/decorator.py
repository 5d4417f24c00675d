"""`@rpc` for a servicer's methods: status codes, metrics, log ids, traces and the bearer check, the same everywhere.

The method is written as for `grpc.aio` (`async def Encode(self, request, context)`, or an async generator for a
streamed answer) on a class with an attribute `service` (its name in metrics and logs). It raises to fail and never sets
codes itself. A class with `internal = False` serves clients from outside, who do not carry the services' token. The
method reads only `invocation_metadata()` of `context`, so that it runs under both `grpc.aio` and Ray Serve. Where its
settings have `max_streams`, more concurrent calls are refused.
"""

from __future__ import annotations

import asyncio
import functools
import hmac
import inspect
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import grpc
from google.protobuf.empty_pb2 import Empty

from services.rpc import streams
from services.rpc.contracts import readable
from services.rpc.errors import ServiceError, Status, status_of
from services.telemetry import logs, metrics, tracing
from services.telemetry.session_hash import session_hash

TOKEN_VARIABLE = "PARLEY_SERVICE_TOKEN"  # set on services and gateway: calls must carry it as a bearer token
TOKEN_FILE_VARIABLE = "PARLEY_SERVICE_TOKEN_FILE"  # or a file that holds it

UNLIMITED = ("Describe",)  # cheap methods that a full service still answers

log = logs.get_logger(__name__)


def service_token() -> str:
    """The token that calls of services carry; "" where none is set. Raises `OSError` for a file that cannot be read."""
    path = os.environ.get(TOKEN_FILE_VARIABLE, "")
    return os.environ.get(TOKEN_VARIABLE) or (_read_token(path) if path else "")


@functools.cache
def _read_token(path: str) -> str:
    return Path(path).read_text().strip()


def authenticate(metadata: Iterable[tuple[str, str | bytes]] | None) -> None:
    """Raises UNAUTHENTICATED where a token is required and the metadata of a call does not carry it."""
    token = service_token()
    if not token:
        return
    given = {key: value for key, value in metadata or ()}.get("authorization", "")
    if not hmac.compare_digest(str(given).encode(), f"Bearer {token}".encode()):
        raise ServiceError(grpc.StatusCode.UNAUTHENTICATED, "the call carries no valid bearer token")


class _Call:
    """One call of a servicer, counted when it starts and when it ends."""

    def __init__(self, servicer, method: str):
        self.servicer = servicer
        self.labels = (servicer.service, method)
        self.started = time.monotonic()
        self.span = tracing.NOTHING
        servicer.open_calls = getattr(servicer, "open_calls", 0) + 1
        metrics.IN_FLIGHT.labels(*self.labels).inc()

    def admit(self, request, context) -> None:
        """Raises UNAUTHENTICATED, or RESOURCE_EXHAUSTED where the servicer has too many calls."""
        if getattr(self.servicer, "internal", True):
            authenticate(context.invocation_metadata())
            self.span = tracing.continued(".".join(self.labels), context.invocation_metadata())
            if hasattr(request, "session_id"):  # of a stream, its open message says it
                hashed = session_hash(request.session_id)
                tracing.annotate(session=hashed, turn_id=getattr(request, "turn_id", ""))
        limit = getattr(getattr(self.servicer, "settings", None), "max_streams", None)
        if limit is not None and self.servicer.open_calls > limit and self.labels[1] not in UNLIMITED:
            metrics.REFUSED.labels(self.servicer.service, "max_streams").inc()
            raise ServiceError.at_capacity("calls", limit)

    def end(self, code: str) -> None:
        self.servicer.open_calls -= 1
        metrics.IN_FLIGHT.labels(*self.labels).dec()
        metrics.REQUESTS.labels(*self.labels, code).inc()
        seconds = time.monotonic() - self.started
        metrics.REQUEST_SECONDS.labels(*self.labels).observe(seconds, tracing.exemplar(self.span))
        self.span.set_attribute("rpc.grpc.status_code", code)
        if code not in ("OK", "CANCELLED"):
            tracing.fail(self.span, code)
        tracing.end(self.span)

    def fail(self, error: Exception) -> Status:
        """Ends the call with the status of `error`, which is then to be sent."""
        status = status_of(error)
        self.end(status.code.name)
        write = log.error if status.unexpected else log.warning
        write(
            "call failed",
            method=self.labels[1],
            code=status.code.name,
            message=status.message,
            exc_info=error if status.unexpected else None,
        )
        return status


async def _send(context, status: Status) -> None:
    """Raises under `grpc.aio`; under Ray Serve the caller must return."""
    if hasattr(context, "abort"):  # grpc.aio
        await context.abort(status.code, status.message, status.trailing_metadata)
    context.set_code(status.code)  # Ray Serve would drop the trailing metadata if an exception were raised
    context.set_details(status.message)
    context.set_trailing_metadata(list(status.trailing_metadata))


def rpc(method: Callable) -> Callable:
    """Decorates a unary-answer coroutine or a streamed-answer async generator."""
    name = method.__name__

    if inspect.isasyncgenfunction(method):

        @functools.wraps(method)
        async def streamed(self, request, context):
            logs.bind_request(request)
            call = _Call(self, name)
            answers = method(self, readable(request), context)
            try:
                call.admit(request, context)
                async for answer in answers:
                    yield answer
            except (asyncio.CancelledError, GeneratorExit):
                call.end("CANCELLED")
                raise
            except Exception as error:
                status = call.fail(error)  # before anything is awaited: the call may be cancelled there
                if hasattr(request, "__aiter__"):
                    await streams.drain(request)
                await _send(context, status)
                # Under Serve only. Its own proxy, used while HAProxy has no replica, reads the status with a message:
                # without one more, the call would end there as OK. Callers ignore an empty message.
                yield Empty()
            else:
                call.end("OK")
            finally:
                await answers.aclose()  # runs its clean-up now, not at garbage collection

        return streamed

    @functools.wraps(method)
    async def single(self, request, context):
        logs.bind_request(request)
        call = _Call(self, name)
        try:
            call.admit(request, context)
            answer = await method(self, readable(request), context)
        except asyncio.CancelledError:
            call.end("CANCELLED")
            raise
        except Exception as error:
            await _send(context, call.fail(error))
            return Empty()  # never sent: the status is sent
        call.end("OK")
        return answer

    return single
