"""What the gateway needs of the four services: the protocol that a turn's functions are written against.

`upstream.services.Services` implements it over gRPC; `benchmarks.one_process` within one process.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
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
    """The services of one release. All methods raise `ServiceError` for what a service, or the gateway, refuses."""

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


class Releases(Protocol):
    """The releases that run: one, or two while a promotion goes on."""

    @property
    def current(self) -> Calls:
        """The release that new turns are bound to."""
        ...

    def bind(self) -> AbstractContextManager[Calls]:
        """The current release for one turn: it is kept until the context is left."""
        ...
