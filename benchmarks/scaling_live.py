"""Replicas that come and go with the load: the local stack, with one or two speech decoders as their load asks.

    python -m benchmarks.scaling_live [--checkpoint DIR] [--sessions 8] [--json FILE]

One session asks written questions about pictures without a pause; then `--sessions` do, until both replicas answer and
for `--seconds` more; then one again, until one replica has gone. No turn may be lost on the way, and the sessions never
know: `failed` counts every turn without a complete spoken answer.

The policy is the one of every deployment (`services.ray.scaling`), with shorter times than usual and with a decoder of
few slots, so that a small machine can fill them. The real-time factor does not decide here: both replicas share the
cores of this machine, so a second one does not make the first faster. The table has a row every few seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import grpc
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.measuring import everybody_let_in, machine, percentile, table, write_json
from benchmarks.workload import questions
from cli.client import Client, Question
from protos.parley.v1 import conversation_pb2 as wire
from protos.parley.v1.language_model_pb2 import Sampling
from services.local.stack import LocalStack

SERVICE = "speech_decoder"
QUESTIONS = 12  # that a session asks over and over
ROW_SECONDS = 5.0
CALM_SECONDS = 20.0  # before the load
COLUMNS = (
    "seconds",
    "sessions",
    "replicas",
    "slots_used",
    "queue",
    "synthesized",
    "turns",
    "first_audio_p95",
    "failed",
)


def settings(arguments: argparse.Namespace) -> dict[str, str]:
    """The environment of the stack: what a user sets to have a service scale."""
    prefix = f"PARLEY_{SERVICE.upper()}_"
    return {
        f"{prefix}MAX_REPLICAS": "2",
        f"{prefix}MAX_BATCH": str(arguments.slots),
        f"{prefix}SCALE_UP_SECONDS": str(arguments.up_seconds),
        f"{prefix}SCALE_DOWN_SECONDS": str(arguments.down_seconds),
        f"{prefix}SCALE_REAL_TIME_FACTOR": str(arguments.real_time_factor),
    }


@dataclass
class Turns:
    """The turns of all sessions, with the first audio of each in milliseconds."""

    first_audio: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)  # why


async def converse(address: str, seed: int, turns: Turns, stopped: Callable[[], bool]) -> None:
    """One session after another, a turn each, as one user who asks without a pause."""
    asked = list(islice(questions(seed), QUESTIONS))
    config = wire.SessionConfig(turn_detection=wire.TURN_DETECTION_MANUAL, sampling=Sampling(max_tokens=64))
    number = 0
    while not stopped():
        spoken = asked[number % QUESTIONS]
        number += 1
        try:
            async with Client(address) as client:
                await client.open(config)
                answer = await client.ask(Question(text=spoken.text, images=[spoken.picture]))
        except (grpc.RpcError, ConnectionError) as error:
            turns.failed.append(str(error))
            continue
        if answer.complete and answer.audio:
            turns.first_audio.append(answer.first_audio * 1000)
        else:
            turns.failed.append(answer.error.message if answer.error else answer.finish_reason)


class Replicas:
    """The replicas of the service, through the metrics pages that its log names."""

    def __init__(self, logs: Path):
        self._log = logs / f"{SERVICE}.jsonl"
        self._synthesized: dict[str, float] = {}  # by page

    def look(self) -> dict[str, object]:
        """How many answer, their slots and queues, and the answers that each has made since the last look."""
        pages = {address: page for address in self._addresses() if (page := _metrics(address))}
        made = [page.get("requests_total", 0.0) for page in pages.values()]
        before = [self._synthesized.get(address, 0.0) for address in pages]
        self._synthesized = dict(zip(pages, made, strict=True))
        return {
            "replicas": len(pages),
            "slots_used": sum(page.get("engine_slots_used", 0.0) for page in pages.values()),
            "queue": sum(page.get("queue_length", 0.0) for page in pages.values()),
            "synthesized": " + ".join(f"{now - then:.0f}" for now, then in zip(made, before, strict=True)),
        }

    def _addresses(self) -> list[str]:
        lines = [json.loads(line) for line in self._log.read_text().splitlines()] if self._log.exists() else []
        return list(dict.fromkeys(line["metrics"] for line in lines if line.get("event") in ("ready", "metrics moved")))


def _metrics(address: str) -> dict[str, float]:
    """Sums over labels, by name; nothing where no page is."""
    try:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=2) as answer:
            text = answer.read().decode()
    except (urllib.error.URLError, OSError):
        return {}
    sums: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            name = sample.name.removeprefix("parley_")
            if sample.labels.get("method", "Synthesize") == "Synthesize":
                sums[name] = sums.get(name, 0.0) + sample.value
    return sums


class Run:
    """The phases of a run, and a row every few seconds."""

    def __init__(self, stack: LocalStack, arguments: argparse.Namespace):
        self.address, self.arguments = stack.state.gateway, arguments
        self.replicas, self.turns = Replicas(stack.directory / "logs"), Turns()
        self.began = time.monotonic()
        self.rows: list[dict[str, object]] = []

    async def phase(self, sessions: int, over: Callable[[dict, float], bool], most: float) -> float:
        """`over`: of the newest row and the seconds so far. Returns after how many seconds it was."""
        began, stopping = time.monotonic(), False
        talking = [
            asyncio.create_task(converse(self.address, seed, self.turns, lambda: stopping)) for seed in range(sessions)
        ]
        seconds = 0.0
        while seconds < most and not (self.rows and seconds and over(self.rows[-1], seconds)):
            counted = len(self.turns.first_audio)
            await asyncio.sleep(ROW_SECONDS)
            seconds = time.monotonic() - began
            self._add_row(sessions, await asyncio.to_thread(self.replicas.look), self.turns.first_audio[counted:])
        stopping = True
        await asyncio.gather(*talking)
        return seconds

    def _add_row(self, sessions: int, seen: dict[str, object], first_audio: list[float]) -> None:
        row = {
            "seconds": round(time.monotonic() - self.began),
            "sessions": sessions,
            **seen,
            "turns": len(first_audio),
            "first_audio_p95": round(percentile(first_audio, 0.95)) if first_audio else "",
            "failed": len(self.turns.failed),
        }
        self.rows.append(row)
        print(" ".join(f"{row[name]!s:>{len(name)}}" for name in COLUMNS), flush=True)

    async def all(self) -> dict[str, float]:
        """Seconds until the replica was there, and until it was gone."""
        arguments = self.arguments
        await self.phase(1, lambda row, seconds: seconds >= CALM_SECONDS, CALM_SECONDS)
        both = lambda row, seconds: row["replicas"] == 2  # noqa: E731
        added = await self.phase(arguments.sessions, both, arguments.most)
        await self.phase(arguments.sessions, lambda row, seconds: seconds >= arguments.seconds, arguments.seconds)
        removed = await self.phase(1, lambda row, seconds: row["replicas"] == 1, arguments.most)
        return {"added_s": added, "removed_s": removed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/nano"))
    parser.add_argument("--sessions", type=int, default=8, help="that ask at once under load")
    parser.add_argument("--slots", type=int, default=2, help="clauses that a speech decoder synthesizes at once")
    parser.add_argument("--seconds", type=float, default=30.0, help="under load with both replicas")
    parser.add_argument("--up-seconds", type=float, default=5.0, help="of load before a replica is added")
    parser.add_argument("--down-seconds", type=float, default=20.0, help="of calm before one is removed")
    parser.add_argument(
        "--real-time-factor", type=float, default=10.0, help="that adds a replica: here both share the same cores"
    )
    parser.add_argument("--most", type=float, default=120.0, help="seconds that adding or removing may take")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()

    os.environ.update(settings(arguments))
    facts: dict[str, object] = {"machine": machine(), "settings": settings(arguments)}
    with (
        everybody_let_in(),
        tempfile.TemporaryDirectory() as folder,
        LocalStack(arguments.checkpoint, Path(folder), 0, 0) as stack,
    ):
        run = Run(stack, arguments)
        print(" ".join(COLUMNS), flush=True)
        facts |= asyncio.run(run.all())
    print(table(run.rows, COLUMNS))
    counts = f"{len(run.turns.first_audio)} turns answered, {len(run.turns.failed)} failed {run.turns.failed[:3]}"
    print(f"{counts}; replica added after {facts['added_s']:.0f} s, removed after {facts['removed_s']:.0f} s")
    print("synthesized: answers that each replica made; first_audio_p95 in ms, of the turns that ended in the row")
    print(", ".join(f"{name} {value}" for name, value in facts["machine"].items()))
    if arguments.json:
        write_json(arguments.json, {**facts, "rows": run.rows, "failed": run.turns.failed})


if __name__ == "__main__":
    main()
