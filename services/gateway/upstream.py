"""The four services as the gateway calls them: connections, lost ones, deadlines.

Notable points:
- A service is a name in metadata (`application`); any Serve proxy reaches any service, so several addresses are for
  survival, and several connections to one are because a proxy takes 100 streams on each.
- A status without our own words in it (INTERNAL, CANCELLED that nobody asked for, UNAVAILABLE) means that a process
  died or a link broke: `ConnectionLostError`. Whoever holds what was sent tries again on another connection.
- A service that owes an answer and says nothing for `stall_seconds` counts as lost too: a cut link tells nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import TypeVar

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from protos.parley.v1.language_model_pb2_grpc import LanguageModelStub
from protos.parley.v1.speech_decoder_pb2_grpc import SpeechDecoderStub
from protos.parley.v1.speech_encoder_pb2_grpc import SpeechEncoderStub
from protos.parley.v1.vision_encoder_pb2_grpc import VisionEncoderStub
from services.gateway.settings import SERVICES, GatewaySettings
from services.rpc.decorator import TOKEN_VARIABLE
from services.rpc.errors import ServiceError, retry_after
from services.rpc.health import WEIGHTS_KEY
from services.telemetry import logs, metrics

log = logs.get_logger(__name__)

T = TypeVar("T")

_LOST = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
_INCIDENT = "internal error, incident"  # a service's own failure, which has been logged there
_STUBS = {
    "vision": VisionEncoderStub,
    "speech": SpeechEncoderStub,
    "language": LanguageModelStub,
    "voice": SpeechDecoderStub,
}
METHODS = {"vision": "Encode", "speech": "Listen", "language": "Generate", "voice": "Speak"}
_WEIGHTS_SECONDS = 5.0  # a service is asked again what weights it has after this long
_PAUSES = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8)  # seconds before each new attempt; the last one goes on


class ConnectionLostError(Exception):
    """The call broke; nothing says that another would."""


def failure(service: str, error: grpc.RpcError) -> Exception:
    """What a call's status means here: `ConnectionLostError`, or a `ServiceError` that the client is told."""
    code, details = error.code(), error.details() or ""
    if code in _LOST and not details.startswith(_INCIDENT):
        return ConnectionLostError(f"{service}: {code.name} {details[:200]}")
    return ServiceError(code, f"{service}: {details[:500]}", retry_after(error))


class Upstream:
    """Connections to all services. One a process."""

    def __init__(self, settings: GatewaySettings):
        self._settings = settings
        self._channels: dict[str, list[grpc.aio.Channel]] = {}  # by address
        self._weights: dict[str, str] = {}  # by service, as last told
        self._weights_asked: dict[str, float] = {}  # by service, `time.monotonic()`
        self._asking_weights = {service: asyncio.Lock() for service in SERVICES}
        self._turn: dict[str, itertools.count] = {service: itertools.count() for service in SERVICES}
        for service in SERVICES:
            for address in settings.addresses(service):
                if address not in self._channels:
                    self._channels[address] = [_channel(address) for _ in range(settings.channels)]

    async def close(self) -> None:
        await asyncio.gather(*(channel.close() for group in self._channels.values() for channel in group))

    def _stub(self, service: str):
        """The next connection's stub, address by address, so that a new attempt takes another."""
        addresses = self._settings.addresses(service)
        turn = next(self._turn[service])
        group = self._channels[addresses[turn % len(addresses)]]
        return _STUBS[service](group[turn // len(addresses) % len(group)])

    async def ready(self) -> dict[str, bool]:
        """Which services answer now: each is asked for its health, all at once, for `probe_seconds`."""
        return dict(zip(SERVICES, await asyncio.gather(*map(self._answers, SERVICES)), strict=True))

    async def _answers(self, service: str) -> bool:
        answers = await asyncio.gather(*(self._probe(service, it) for it in self._settings.addresses(service)))
        self._weights_asked[service] = time.monotonic()
        return any(answers)

    async def _probe(self, service: str, address: str) -> bool:
        call = health_pb2_grpc.HealthStub(self._channels[address][0]).Check(
            health_pb2.HealthCheckRequest(), timeout=self._settings.probe_seconds, metadata=_metadata(service)
        )
        try:
            answer = await call
            for key, value in await call.trailing_metadata() or ():
                if key == WEIGHTS_KEY:
                    self._weights[service] = value
        except grpc.RpcError:
            return False
        return answer.status == health_pb2.HealthCheckResponse.SERVING

    async def weights(self, service: str) -> str:
        """A name for the weights that `service` has, as it told within the last seconds; empty while it never has."""
        async with self._asking_weights[service]:
            age = time.monotonic() - self._weights_asked.get(service, float("-inf"))
            if age > _WEIGHTS_SECONDS or service not in self._weights:
                await self._answers(service)
        return self._weights.get(service, "")

    async def encode(self, request, timeout: float):
        """VisionEncoder.Encode, tried again while the connection is lost. Raises `ServiceError`."""

        async def once():
            metadata = _metadata("vision", request.session_id, request.turn_id)
            try:
                return await self._stub("vision").Encode(request, timeout=timeout, metadata=metadata)
            except grpc.RpcError as error:
                raise failure("vision encoder", error) from error

        return await self.until_done("vision", once)

    async def until_done(self, service: str, attempt: Callable[[], Awaitable[T]]) -> T:
        """Runs `attempt` until it ends without `ConnectionLostError`, for at most `recovery_seconds` of trying.

        Raises `ServiceError` UNAVAILABLE once that has passed, and whatever else `attempt` raises at once.
        """
        lost_since = None
        for number in itertools.count():
            started = time.monotonic()
            try:
                return await attempt()
            except ConnectionLostError as error:
                now = time.monotonic()
                if lost_since is None or now - started > self._settings.recovery_seconds:
                    lost_since = now  # it had worked for long: a new loss
                metrics.RECONNECTS.labels(service).inc()
                self._weights_asked.pop(service, None)  # what comes back may have others
                if now - lost_since >= self._settings.recovery_seconds:
                    message = f"the {service} service cannot be reached; tried again {number} times"
                    raise ServiceError(grpc.StatusCode.UNAVAILABLE, message, retry_after=2.0) from error
                say = log.warning if number == 0 else log.debug
                say("connection lost, trying again", upstream=service, attempt=number + 1, error=str(error))
            await asyncio.sleep(_PAUSES[min(number, len(_PAUSES) - 1)])
        raise AssertionError("unreachable")

    @contextlib.asynccontextmanager
    async def stream(self, service: str, requests: AsyncGenerator, *, session_id: str, turn_id: str, timeout: float):
        """Opens the service's stream, sends it `requests` (numbered here) and yields an iterator of its answers.

        Leaving the context cancels the call. Iterating raises `ConnectionLostError`, `ServiceError`, or what `requests`
        raises.
        """
        method = getattr(self._stub(service), METHODS[service])
        call = method(timeout=timeout, metadata=_metadata(service, session_id, turn_id))
        sending = asyncio.create_task(_send(call, requests))
        try:
            yield self._answers_of(service, call, sending)
        finally:
            call.cancel()
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await sending

    async def _answers_of(self, service: str, call, sending: asyncio.Task) -> AsyncIterator:
        answers = aiter(call)
        expected = 0
        while True:
            reading = asyncio.ensure_future(anext(answers, None))
            try:
                while not reading.done():
                    waiting = {reading} if sending.done() else {reading, sending}
                    done, _ = await asyncio.wait(
                        waiting, timeout=self._settings.stall_seconds, return_when=asyncio.FIRST_COMPLETED
                    )
                    if sending.done():
                        sending.result()  # an error of this side's own
                        if not done:  # it has heard everything and owes an answer
                            raise ConnectionLostError(f"{service}: silent for {self._settings.stall_seconds:g} s")
                answer = reading.result()
            except grpc.RpcError as error:
                raise failure(service, error) from error
            finally:
                reading.cancel()
            if answer is None:
                return
            if answer.WhichOneof("message") is None:
                continue  # it only carries the status of a call that has failed (`services.rpc.decorator`)
            if answer.sequence != expected:
                raise ConnectionLostError(f"{service}: answer {answer.sequence} came where {expected} was due")
            expected += 1
            yield answer


async def _send(call, requests: AsyncGenerator) -> None:
    """Numbers and sends. That the call has ended is for the reader to find; other errors are this side's own."""
    sequence = 0
    async with contextlib.aclosing(requests):
        async for request in requests:
            request.sequence = sequence
            sequence += 1
            try:
                await call.write(request)
            except (grpc.RpcError, asyncio.InvalidStateError):
                return
    with contextlib.suppress(grpc.RpcError, asyncio.InvalidStateError):
        await call.done_writing()


def _channel(address: str) -> grpc.aio.Channel:
    options = [
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
        ("grpc.use_local_subchannel_pool", 1),  # a connection of its own
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1000),
    ]
    return grpc.aio.insecure_channel(address, options=options)


def _metadata(service: str, session_id: str = "", turn_id: str = "") -> list[tuple[str, str]]:
    metadata = [("application", service)]
    if session_id:
        metadata.append(("session_id", session_id))
    if turn_id:
        metadata.append(("request_id", turn_id))
    token = os.environ.get(TOKEN_VARIABLE)
    if token:
        metadata.append(("authorization", f"Bearer {token}"))
    return metadata
