"""Which failed calls are tried again, and what the client is told of the others."""

from __future__ import annotations

import grpc
import pytest

from services.gateway.upstream.calls import ConnectionLostError
from services.gateway.upstream.errors import failure
from services.rpc.errors import RETRY_AFTER_KEY, ServiceError

Code = grpc.StatusCode


def rpc_error(code: Code, details: str | None, *trailing: tuple[str, str]) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailing), details)


@pytest.mark.parametrize("code", [Code.UNAVAILABLE, Code.CANCELLED, Code.INTERNAL, Code.UNKNOWN, Code.NOT_FOUND])
def test_a_broken_link_is_a_lost_connection(code):
    lost = failure("llm_core", rpc_error(code, "connection reset"))
    assert type(lost) is ConnectionLostError and str(lost) == f"llm_core: {code.name} connection reset"


@pytest.mark.parametrize(
    ("code", "details"),
    [
        (Code.INTERNAL, "internal error, incident 3f2a"),  # it would fail again
        (Code.RESOURCE_EXHAUSTED, "at capacity"),
        (Code.INVALID_ARGUMENT, "half a sample"),
        (Code.DEADLINE_EXCEEDED, "the deadline has passed"),
        (Code.ABORTED, "replaced by a newer request"),
        (Code.UNAUTHENTICATED, "no token"),
        (Code.UNIMPLEMENTED, ""),
    ],
)
def test_what_a_service_says_is_passed_on_with_its_name(code, details):
    told = failure("llm_core", rpc_error(code, details))
    assert type(told) is ServiceError
    assert (told.code, told.message, told.retry_after) == (code, f"llm_core: {details}", 0)


def test_when_to_ask_again_is_passed_on():
    error = rpc_error(Code.RESOURCE_EXHAUSTED, "full", (RETRY_AFTER_KEY, "1500"))
    assert failure("llm_core", error).retry_after == 1.5


def test_no_details_are_no_error():
    assert str(failure("llm_core", rpc_error(Code.UNAVAILABLE, None))) == "llm_core: UNAVAILABLE "
