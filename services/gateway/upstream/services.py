"""The four services of one release over gRPC: implements `upstream.calls.Calls`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import TypeVar

import grpc

from protos.parley.v1.model_info_pb2 import ModelInfo
from protos.parley.v1.vision_encoder_pb2 import EncodeVisionRequest, EncodeVisionResponse
from services.gateway.settings import UpstreamSettings
from services.gateway.upstream import retries
from services.gateway.upstream.calls import CallContext, ConnectionLostError
from services.gateway.upstream.connections import Connections, metadata_for
from services.gateway.upstream.descriptions import Descriptions
from services.gateway.upstream.errors import failure
from services.gateway.upstream.hedging import hedged
from services.gateway.upstream.stream import GrpcStream
from services.registry import SERVICES
from services.rpc.errors import ServiceError

T = TypeVar("T")


class Services:
    """One for each slot. Whoever holds what was sent tries again on another connection (`until_done`)."""

    def __init__(self, settings: UpstreamSettings, slot: str, connections: Connections):
        """`connections`: of their owner, who closes them."""
        self._settings, self._slot = settings, slot
        self._connections = connections
        self._descriptions = Descriptions(self._describe, settings.describe_seconds)

    async def close(self) -> None:
        await self._descriptions.close()

    async def ready(self) -> dict[str, bool]:
        """Which services answer a health probe now."""
        return await self._connections.ready(self._slot)

    async def describe(self, service: str) -> ModelInfo:
        """Raises `ServiceError`: UNAVAILABLE where the service has not been reached within `recovery_seconds`,
        FAILED_PRECONDITION where it refuses the token."""
        return await retries.until_done(
            service, lambda: self._descriptions.get(service), self._settings.recovery_seconds
        )

    async def _describe(self, service: str) -> ModelInfo:
        try:
            return await self._connections.describe(service, self._slot)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNAUTHENTICATED:
                message = f"{service} refuses the gateway's token: PARLEY_SERVICE_TOKEN must be the same for both"
                raise ServiceError(grpc.StatusCode.FAILED_PRECONDITION, message) from error
            # whatever its code: it may be starting
            raise ConnectionLostError(f"{service}: {error.code().name} {error.details()}") from error

    async def encode_images(self, request: EncodeVisionRequest, timeout: float) -> EncodeVisionResponse:
        async def call() -> EncodeVisionResponse:
            stub = self._connections.stub("vision_encoder")
            metadata = metadata_for("vision_encoder", CallContext(request.session_id, request.turn_id), self._slot)
            try:
                return await stub.Encode(request, timeout=timeout, metadata=metadata)
            except grpc.RpcError as error:
                raise failure("vision_encoder", error) from error

        # One answer has no heartbeat: a replica that hangs would be noticed by its health checks only.
        return await self.until_done("vision_encoder", lambda: hedged(call, self._settings.hedging_seconds))

    async def until_done(self, service: str, attempt: Callable[[], Awaitable[T]]) -> T:
        async def watched() -> T:
            try:
                return await attempt()
            except ConnectionLostError:
                self._descriptions.expire(service)
                raise

        return await retries.until_done(service, watched, self._settings.recovery_seconds)

    @contextlib.asynccontextmanager
    async def stream(
        self, service: str, requests: AsyncGenerator, context: CallContext, keep_open: bool = False
    ) -> AsyncIterator[GrpcStream]:
        method = getattr(self._connections.stub(service), SERVICES[service].method)
        timeout = max(0.0, context.deadline_ms / 1000 - time.time()) if context.deadline_ms else None
        call = method(timeout=timeout, metadata=metadata_for(service, context, self._slot))
        stream = GrpcStream(service, call, requests, keep_open, self._settings)
        try:
            yield stream
        finally:
            await stream.close()
