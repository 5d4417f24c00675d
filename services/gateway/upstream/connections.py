"""Connections to the services: one set of channels to each address, and the stub that a call takes next.

A service is a name in metadata (`application`); any Serve proxy reaches any service. Several addresses are for
survival; several connections to one address are because a proxy takes 100 streams on each.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from protos.parley.v1.model_info_pb2 import DescribeRequest, ModelInfo
from services.gateway.settings import UpstreamSettings
from services.gateway.upstream.calls import CallContext
from services.ray.serve_config import SLOTS, application_name
from services.registry import SERVICES
from services.rpc.decorator import service_token
from services.telemetry import tracing

NO_CONTEXT = CallContext()


class Connections:
    """One a process."""

    def __init__(self, settings: UpstreamSettings):
        self._settings = settings
        self._channels: dict[str, list[grpc.aio.Channel]] = {}  # by address
        self._next: dict[str, itertools.count] = {service: itertools.count() for service in SERVICES}
        for service in SERVICES:
            for address in settings.addresses_of(service):
                if address not in self._channels:
                    self._channels[address] = [_channel(address) for _ in range(settings.channels)]

    async def close(self) -> None:
        await asyncio.gather(*(channel.close() for group in self._channels.values() for channel in group))

    def stub(self, service: str):
        """The next connection's stub, address by address, so that a new attempt takes another."""
        addresses = self._settings.addresses_of(service)
        number = next(self._next[service])
        group = self._channels[addresses[number % len(addresses)]]
        return SERVICES[service].stub(group[number // len(addresses) % len(group)])

    async def describe(self, service: str, slot: str = SLOTS[0]) -> ModelInfo:
        """What the first of the service's addresses that answers runs. Raises `grpc.RpcError` where none does."""
        *others, last = self._settings.addresses_of(service)
        for address in others:
            with contextlib.suppress(grpc.RpcError):
                return await self._describe(service, slot, address)
        return await self._describe(service, slot, last)

    async def _describe(self, service: str, slot: str, address: str) -> ModelInfo:
        stub = SERVICES[service].stub(self._channels[address][0])
        metadata = metadata_for(service, slot=slot)
        return await stub.Describe(DescribeRequest(), timeout=self._settings.probe_seconds, metadata=metadata)

    async def ready(self, slot: str = SLOTS[0]) -> dict[str, bool]:
        """Which services answer now: each is asked for its health, all at once, for `probe_seconds`."""
        answers = await asyncio.gather(*(self._answers(service, slot) for service in SERVICES))
        return dict(zip(SERVICES, answers, strict=True))

    async def _answers(self, service: str, slot: str) -> bool:
        probes = (self._probe(service, slot, address) for address in self._settings.addresses_of(service))
        return any(await asyncio.gather(*probes))

    async def _probe(self, service: str, slot: str, address: str) -> bool:
        try:
            answer = await health_pb2_grpc.HealthStub(self._channels[address][0]).Check(
                health_pb2.HealthCheckRequest(),
                timeout=self._settings.probe_seconds,
                metadata=metadata_for(service, slot=slot),
            )
        except grpc.RpcError:
            return False
        return answer.status == health_pb2.HealthCheckResponse.SERVING


def _channel(address: str) -> grpc.aio.Channel:
    options = [
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
        ("grpc.use_local_subchannel_pool", 1),  # a connection of its own
        ("grpc.lb_policy_name", "round_robin"),  # a name may stand for many proxies, as a headless Service's does
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1000),
    ]
    return grpc.aio.insecure_channel(address, options=options)


def metadata_for(service: str, context: CallContext = NO_CONTEXT, slot: str = SLOTS[0]) -> list[tuple[str, str]]:
    """The metadata of a call: where it goes, on whose behalf, in which trace, and the services' token."""
    metadata = [("application", application_name(service, slot))]
    if context.session_id:
        metadata.append(("session_id", context.session_id))
    if context.turn_id:
        metadata.append(("request_id", context.turn_id))
    metadata += tracing.metadata(tracing.current())
    token = service_token()
    if token:
        metadata.append(("authorization", f"Bearer {token}"))
    return metadata
