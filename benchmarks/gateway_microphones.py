"""Open microphones of the gateway benchmark, in a process of their own: hundreds of hands-free clients in real time.

    python -m benchmarks.gateway_microphones --address 127.0.0.1:8080 --wire realtime --sound room --sessions 300

Each sends 40 ms of sound every 40 ms, one after the other, so that they come evenly. Now and then a client sends a
message that is none behind its sound: the gateway refuses it once it is done with the sound before, so the time to the
refusal is how long the gateway takes from the arrival of a microphone's sound to its result. The clients' own work is
kept small: the messages are made once, and there is no client library beneath the WebSockets.

Prints a line of JSON when all are open, and one at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import resource
import sys
import time
from collections import deque
from collections.abc import Callable

import grpc
import numpy as np
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.uri import parse_uri

from benchmarks.microphone import CHUNK_SECONDS
from protos.parley.v1 import conversation_pb2 as wire
from protos.parley.v1.conversation_pb2_grpc import ConversationStub

SOUNDS = ("none", "silent", "room")
ROOM_DB = -50.0  # of full scale: loud enough for all frames to be computed, and no speech
RATES = {"realtime": 24_000, "grpc": 16_000}  # Hz, the usual ones
LOOP_SECONDS = 4.0  # of sound, over and over
PROBE_SECONDS = 10.0  # between two probes of a session; each is an event that the gateway keeps, and costs it something
OPEN_AT_ONCE = 16
PROBED = ("'probe'", "audio chunk is empty")  # in what the gateway answers to a probe
PATH = "/v1/realtime?model=parley"


def chunks(sound: str, rate: int) -> list[bytes]:
    """16-bit samples."""
    samples = np.zeros(round(LOOP_SECONDS * rate))
    if sound == "room":
        samples = np.random.default_rng(0).normal(0, 32768 * 10 ** (ROOM_DB / 20), len(samples))
    audio, size = np.round(samples).astype("<i2").tobytes(), 2 * round(CHUNK_SECONDS * rate)
    return [audio[at : at + size] for at in range(0, len(audio), size)]


class Microphone:
    """A client. `delays`: seconds from a probe to its answer; `errors`: what else the gateway has refused."""

    def __init__(self) -> None:
        self.delays: list[float] = []
        self.errors: list[str] = []
        self.opened = asyncio.get_running_loop().create_future()
        self._probes: deque[float] = deque()

    def sent_probe(self) -> None:
        self._probes.append(time.perf_counter())

    def refused(self, message: str) -> None:
        if any(each in message for each in PROBED) and self._probes:
            self.delays.append(time.perf_counter() - self._probes.popleft())
        else:
            self.errors.append(message)


class RealtimeMicrophone(Microphone, asyncio.Protocol):
    """Over a WebSocket; without `hands_free` no voice activity is detected."""

    def __init__(self, address: str, hands_free: bool):
        super().__init__()
        self._protocol = ClientProtocol(parse_uri(f"ws://{address}{PATH}"), max_size=None)
        self._hands_free = hands_free
        self._left = False

    @staticmethod
    def messages(sound: list[bytes]) -> list[bytes]:
        return [append(base64.b64encode(chunk).decode()) for chunk in sound]

    @classmethod
    async def open(cls, address: str, hands_free: bool) -> RealtimeMicrophone:
        host, _, port = address.rpartition(":")
        loop = asyncio.get_running_loop()
        _, microphone = await loop.create_connection(lambda: cls(address, hands_free), host, int(port))
        await microphone.opened
        return microphone

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._protocol.send_request(self._protocol.connect())
        self._flush()

    def data_received(self, data: bytes) -> None:
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                self._take(json.loads(event.data))
        self._flush()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_exception(ConnectionError(f"the gateway refused: {self._protocol.handshake_exc}"))
        elif not self._left:
            self.errors.append(f"the connection was lost: {error or self._protocol.close_rcvd or 'in silence'}")

    def _take(self, event: dict) -> None:
        if event["type"] == "session.created" and not self._hands_free:
            detection = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
            self._transport.write(frame(json.dumps({"type": "session.update", "session": detection})))
        elif event["type"] in ("session.created", "session.updated"):
            self.opened.set_result(None)
        elif event["type"] == "error":
            self.refused(event["error"]["message"])
        else:
            self.errors.append(event["type"])

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            self._transport.write(data)

    def send(self, message: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(message)

    def probe(self) -> None:
        self.sent_probe()
        self._transport.write(frame('{"type":"probe"}'))

    async def close(self) -> None:
        self._left = True
        self._protocol.fail(1000)
        self._flush()
        self._transport.close()


def frame(text: str) -> bytes:
    return Frame(Opcode.TEXT, text.encode()).serialize(mask=True)


def append(audio: str) -> bytes:
    return frame('{"type":"input_audio_buffer.append","audio":"' + audio + '"}')


class GrpcMicrophone(Microphone):
    def __init__(self) -> None:
        super().__init__()
        self._waiting: asyncio.Queue[wire.ClientEvent] = asyncio.Queue()

    @staticmethod
    def messages(sound: list[bytes]) -> list[wire.ClientEvent]:
        return [wire.ClientEvent(audio=chunk) for chunk in sound]

    @classmethod
    async def open(cls, address: str, hands_free: bool) -> GrpcMicrophone:
        microphone = cls()
        channel = grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
        microphone._channel, microphone._call = channel, ConversationStub(channel).Converse()
        detection = wire.TURN_DETECTION_SERVER_VAD if hands_free else wire.TURN_DETECTION_MANUAL
        config = wire.SessionConfig(input_sample_rate=RATES["grpc"], turn_detection=detection)
        await microphone._call.write(wire.ClientEvent(open=wire.OpenSession(config=config)))
        microphone._working = [asyncio.create_task(microphone._read()), asyncio.create_task(microphone._write())]
        await microphone.opened
        return microphone

    async def _read(self) -> None:
        async for event in self._call:
            match event.WhichOneof("event"):
                case "session":
                    self.opened.set_result(None)
                case "error":
                    self.refused(event.error.message)
                case other:
                    self.errors.append(other)

    async def _write(self) -> None:
        while True:
            await self._call.write(await self._waiting.get())

    def send(self, message: wire.ClientEvent) -> None:
        self._waiting.put_nowait(message)

    def probe(self) -> None:
        self.sent_probe()
        self._waiting.put_nowait(wire.ClientEvent(audio=b""))

    async def close(self) -> None:
        for task in self._working:
            task.cancel()
        self._call.cancel()
        await self._channel.close()


KINDS = {"realtime": RealtimeMicrophone, "grpc": GrpcMicrophone}


async def open_all(arguments: argparse.Namespace) -> list[RealtimeMicrophone | GrpcMicrophone]:
    kind, at_once = KINDS[arguments.wire], asyncio.Semaphore(OPEN_AT_ONCE)

    async def open_one() -> RealtimeMicrophone | GrpcMicrophone:
        async with at_once:
            return await kind.open(arguments.address, not arguments.manual)

    return await asyncio.gather(*(open_one() for _ in range(arguments.sessions)))


async def send_all(microphones: list, messages: list, until: Callable[[], bool]) -> float:
    """One after the other, evenly, until it is time. → seconds, the most that a piece was sent too late."""
    began, late, number = time.perf_counter(), 0.0, 0
    step, every = CHUNK_SECONDS / len(microphones), round(PROBE_SECONDS / CHUNK_SECONDS)
    while not until():
        due = began + CHUNK_SECONDS + number * step
        if (ahead := due - time.perf_counter()) > 0.001:  # a millisecond's pieces go together
            await asyncio.sleep(ahead)
        late = max(late, time.perf_counter() - due)
        turn, which = divmod(number, len(microphones))
        microphones[which].send(messages[(turn + which) % len(messages)])
        if (turn + which) % every == 0:
            microphones[which].probe()
        number += 1
        if number % 64 == 0:
            await asyncio.sleep(0)  # answers are read
    return late


async def run(arguments: argparse.Namespace) -> None:
    microphones = await open_all(arguments)
    print(json.dumps({"open": len(microphones)}), flush=True)
    ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)  # the benchmark says when
    late = 0.0
    if arguments.sound == "none":
        await ended
    else:
        kind = KINDS[arguments.wire]
        messages = kind.messages(chunks(arguments.sound, RATES[arguments.wire]))
        late = await send_all(microphones, messages, ended.done)
        await asyncio.sleep(1.0)  # what is on its way
    used = resource.getrusage(resource.RUSAGE_SELF)
    facts = {"delays": [delay for each in microphones for delay in each.delays], "late": late}
    errors = [error for each in microphones for error in each.errors]
    print(json.dumps(facts | {"errors": errors, "cpu": used.ru_utime + used.ru_stime}), flush=True)
    await asyncio.gather(*(each.close() for each in microphones))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", required=True, help="host:port of the gateway")
    parser.add_argument("--wire", choices=list(KINDS), default="realtime")
    parser.add_argument("--sound", choices=SOUNDS, default="room")
    parser.add_argument("--sessions", type=int, default=300)
    parser.add_argument("--manual", action="store_true", help="no voice activity detection")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
