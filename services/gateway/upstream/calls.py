"""What the gateway needs of the four services: the protocol that a turn's functions are written against.

`upstream.services.Services` implements it over gRPC; `benchmarks.one_process` within one process.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from protos.parley.v1.model_info_pb2 import ModelInfo
from protos.parley.v1.vision_encoder_pb2 import EncodeVisionRequest, EncodeVisionResponse

T = TypeVar("T")


@dataclass(frozen=True)
class CallContext:
    """On whose behalf a service is called, and until when."""

    session_id: str = ""
    turn_id: str = ""
    deadline_ms: int = 0  # Unix time in milliseconds; 0: none


class ConnectionLostError(Exception):
    """The call broke; nothing says that another one would."""


class Stream(Protocol):
    """An open call: iterate over its answers; `send` adds a message behind those that were given at its opening."""

    def __aiter__(self) -> AsyncIterator[Any]: ...

    async def send(self, request: Any) -> None: ...


class Calls(Protocol):
    """All methods raise `ServiceError` for what the service, or the gateway, refuses."""

    async def describe(self, service: str) -> ModelInfo:
        """What a service runs, as it said within the last seconds or, while it is out of reach, as it said last."""
        ...

    async def encode_images(self, request: EncodeVisionRequest, timeout: float) -> EncodeVisionResponse:
        """VisionEncoder.Encode. `timeout`: seconds."""
        ...

    def stream(
        self, service: str, requests: AsyncGenerator[Any, None], context: CallContext, keep_open: bool = False
    ) -> AbstractAsyncContextManager[Stream]:
        """Opens the service's stream and sends it `requests`, numbered. Leaving the context cancels the call.

        `keep_open`: more may follow through `send` when `requests` has ended. Iterating raises `ConnectionLostError`,
        or whatever `requests` raises.
        """
        ...

    async def until_done(self, service: str, attempt: Callable[[], Awaitable[T]]) -> T:
        """Runs `attempt` until it ends without `ConnectionLostError`, as long as recovery may take."""
        ...
