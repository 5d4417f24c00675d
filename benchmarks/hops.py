"""What a message costs on its way from the gateway to a service's engine and back, layer by layer.

    python -m benchmarks.hops [--rounds 500] [--pause 0.01] [--bytes 1920] [--json FILE]

The service echoes from its engine's thread (echo_service.py). Each layer has all of those above it:
- `engine`: this event loop → the engine's thread → this event loop;
- `service`: the service's stream, called in this process: its messages checked, its request fed;
- `grpc.aio`: the gateway's calls, to the service in a process of its own without Ray;
- `replica`: the same service under Ray Serve, at the replica's own port;
- `proxy`: through HAProxy, as in production.

`bare` is a stream of bytes over `grpc.aio`, echoed by a process that does nothing else: what two processes cost at
least.

Of each layer a round takes, in turn with all others: a message and its answer on an open stream (`message`); the same
where the engine goes on computing once it has answered (`busy`); a new stream, up to its first answer (`stream`); a
unary call (`unary`). Milliseconds, with a pause before each, in which the processes fall asleep as they do within a
turn.

    GRPC_EXPERIMENTS= python -m benchmarks.hops     gRPC as it is by default (see services/__init__.py)
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path

import grpc

from benchmarks.echo_service import BUSY, STEP_SECONDS, EchoService, EchoSettings, echo
from benchmarks.measuring import machine, percentile, table, write_json
from benchmarks.one_process import Call, DirectStream
from protos.parley.v1.model_info_pb2 import DescribeRequest
from protos.parley.v1.speech_encoder_pb2 import EncodeSpeechOpen, EncodeSpeechRequest
from services import GRPC_ENVIRONMENT
from services.gateway.settings import UpstreamSettings
from services.gateway.upstream.calls import CallContext
from services.gateway.upstream.connections import Connections
from services.gateway.upstream.services import Services
from services.local import ports, processes
from services.local.node import NODE_PORTS, environment
from services.ray.serve_config import SLOTS

SERVICE = "speech_encoder"
KINDS = ("message", "busy", "stream", "unary")
WARM_UP = 20  # rounds that are not counted
CONTEXT = CallContext("session", "turn")

Probe = Callable[[], Awaitable[object]]


async def first(message: bytes) -> AsyncGenerator[EncodeSpeechRequest, None]:
    """What a stream begins with: its opening and one message."""
    yield EncodeSpeechRequest(open=EncodeSpeechOpen(session_id="session", turn_id="turn"))
    yield EncodeSpeechRequest(audio=message)


async def open_stream_probes(stream, message: bytes) -> dict[str, Probe]:
    """On a stream that stays open: one message, one answer."""
    answers = aiter(stream)
    await anext(answers)

    async def round_trip(sent: bytes) -> None:
        await stream.send(EncodeSpeechRequest(audio=sent))
        await anext(answers)

    return {"message": lambda: round_trip(message), "busy": lambda: round_trip(BUSY + message)}


def engine_probes(service: EchoService, message: bytes) -> dict[str, Probe]:
    request = service.open()

    async def round_trip(content: bytes) -> None:
        request.post("echo", content)
        await request.next()

    return {
        "message": lambda: round_trip(message),
        "busy": lambda: round_trip(BUSY + message),
        "stream": lambda: echo(service.open(), message),
    }


async def service_probes(service: EchoService, message: bytes, stack: contextlib.AsyncExitStack) -> dict[str, Probe]:
    def open_stream() -> DirectStream:
        return DirectStream(SERVICE, service, first(message), keep_open=True)

    async def new_stream() -> None:
        stream = open_stream()
        await anext(aiter(stream))
        await stream.close()

    async def unary() -> None:
        await service.Describe(DescribeRequest(), Call())

    kept = open_stream()
    stack.push_async_callback(kept.close)
    return {**await open_stream_probes(kept, message), "stream": new_stream, "unary": unary}


async def grpc_probes(address: str, message: bytes, stack: contextlib.AsyncExitStack) -> dict[str, Probe]:
    """Over the gateway's own calls."""
    settings = UpstreamSettings(addresses=address)
    connections = Connections(settings)
    stack.push_async_callback(connections.close)
    services = Services(settings, SLOTS[0], connections)

    def open_stream() -> contextlib.AbstractAsyncContextManager:
        return services.stream(SERVICE, first(message), CONTEXT, keep_open=True)

    async def new_stream() -> None:
        async with open_stream() as stream:
            await anext(aiter(stream))

    kept = await stack.enter_async_context(open_stream())
    return {
        **await open_stream_probes(kept, message),
        "stream": new_stream,
        "unary": lambda: connections.describe(SERVICE),
    }


async def bare_probes(address: str, message: bytes, stack: contextlib.AsyncExitStack) -> dict[str, Probe]:
    channel = await stack.enter_async_context(grpc.aio.insecure_channel(address))
    kept = channel.stream_stream("/bare/stream")()
    stack.callback(kept.cancel)

    async def round_trip(call=kept) -> None:
        await call.write(message)
        await call.read()

    async def new_stream() -> None:
        call = channel.stream_stream("/bare/stream")()
        await round_trip(call)
        call.cancel()

    return {"message": round_trip, "stream": new_stream, "unary": lambda: channel.unary_unary("/bare/unary")(message)}


async def measure(probes: dict[str, dict[str, Probe]], rounds: int, pause: float) -> dict[str, dict[str, list[float]]]:
    """Milliseconds of each layer and kind."""
    taken = {layer: {kind: [] for kind in kinds} for layer, kinds in probes.items()}
    busy = False
    for number in range(WARM_UP + rounds):
        for layer, kinds in probes.items():
            for kind, probe in kinds.items():
                await asyncio.sleep(pause + (STEP_SECONDS if busy else 0))  # the engine has done what it was given
                busy = kind == "busy"
                began = time.perf_counter()
                await probe()
                if number >= WARM_UP:
                    taken[layer][kind].append((time.perf_counter() - began) * 1000)
    return taken


def report(taken: dict[str, dict[str, list[float]]]) -> list[dict[str, object]]:
    rows = []
    for layer, kinds in taken.items():
        row: dict[str, object] = {"layer": layer}
        for kind in KINDS:
            for name, share in (("p50", 0.5), ("p95", 0.95)):
                row[f"{kind} {name}"] = percentile(kinds[kind], share) if kind in kinds else "-"
        rows.append(row)
    return rows


# The processes.


def wait_for_line(process: subprocess.Popen, log: Path, wanted: Callable[[bytes], bool]) -> str:
    """The first line that it prints and that is wanted. Raises `RuntimeError` with its log where it ends before."""
    while line := process.stdout.readline():
        if wanted(line.strip()):
            return line.decode().strip()
    raise RuntimeError(log.read_text()[-2000:])


@contextlib.contextmanager
def started(*arguments: str, variables: dict[str, str], log: Path):
    process = processes.start(
        [sys.executable, "-m", "benchmarks.echo_service", *arguments], variables, log, stdout=subprocess.PIPE
    )
    try:
        yield process
    finally:
        below = {pid: processes.started_at(pid) for pid in processes.descendants(process.pid)}
        processes.end(process, 30)
        processes.kill_all(lambda: [pid for pid, at in below.items() if at and processes.started_at(pid) == at])


@contextlib.contextmanager
def plain(kind: str, folder: Path):
    """The address of the service, or of the bare echo, in a process of its own."""
    log = folder / f"{kind}.log"
    with started(kind, variables=dict(os.environ), log=log) as process:
        yield f"{ports.HOST}:{wait_for_line(process, log, bytes.isdigit)}"


@contextlib.contextmanager
def under_ray(folder: Path):
    """Addresses of the replica and of the proxy."""
    reservation, block = ports.reserve()
    grpc_port, http_port, *rest = block[: 2 + NODE_PORTS]
    replica_ports = block[2 + NODE_PORTS :]
    variables = {**os.environ, **environment(folder, rest, replica_ports, secrets.token_hex(16))}
    variables |= {name: os.environ[name] for name in GRPC_ENVIRONMENT}  # what this process was started with
    arguments = ("serve", str(grpc_port), str(http_port), str(folder))
    with contextlib.closing(reservation), started(*arguments, variables=variables, log=folder / "ray.log") as process:
        wait_for_line(process, folder / "ray.log", b"ready".__eq__)
        yield f"{ports.HOST}:{replica_ports.start}", f"{ports.HOST}:{grpc_port}"


async def run(arguments: argparse.Namespace, addresses: dict[str, str]) -> dict[str, dict[str, list[float]]]:
    message = bytes(arguments.bytes)
    service = EchoService(EchoSettings())
    await service.start()
    async with contextlib.AsyncExitStack() as stack:
        probes = {
            "bare": await bare_probes(addresses.pop("bare"), message, stack),
            "engine": engine_probes(service, message),
            "service": await service_probes(service, message, stack),
            **{layer: await grpc_probes(address, message, stack) for layer, address in addresses.items()},
        }
        return await measure(probes, arguments.rounds, arguments.pause)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--pause", type=float, default=0.01, help="seconds before each measurement")
    parser.add_argument("--bytes", type=int, default=1920, help="of a message; 1920: 60 ms of speech")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    facts = machine()
    folder = Path(tempfile.mkdtemp(prefix="parley-", dir="/tmp"))  # short: sockets live in it
    try:
        with plain("bare", folder) as bare, plain("plain", folder) as service, under_ray(folder) as (replica, proxy):
            addresses = {"bare": bare, "grpc.aio": service, "replica": replica, "proxy": proxy}
            rows = report(asyncio.run(run(arguments, addresses)))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(table(rows, tuple(rows[0])))
    print(", ".join(f"{name} {value}" for name, value in facts.items()))
    if arguments.json:
        write_json(arguments.json, {"machine": facts, "rows": rows})


if __name__ == "__main__":
    main()
