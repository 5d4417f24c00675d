"""From the end of a spoken question about a picture to the first audio of the answer, at the client.

    python -m benchmarks.first_audio [--checkpoint DIR] [--sessions 1 4 8] [--turns 20] [--json FILE]

In one run, with the same weights and the same spoken questions about pictures, of every kind (see workload.py):
- `services`: the whole stack, started here (or `--address`), over gRPC. A question is sent as fast as it is spoken,
  in chunks of 60 ms, and the picture when the user begins to speak;
- `one process`: the same turns without services (see one_process.py); the difference is what the services cost;
- `published`: encode after the question ends, the whole answer first, then speech, one request at a time
  (see published_order.py); to the first clause, the earliest that this order allows, and to the whole.

Every session asks again after a random pause, so that questions end at any time. `late` counts answers with a chunk of
audio that arrived after everything before it had been played.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from benchmarks.measuring import everybody_let_in, machine, percentile, table, write_json
from benchmarks.one_process import DirectCalls, DirectClient, MemoryStore
from benchmarks.published_order import PublishedOrder
from benchmarks.workload import questions
from cli.client import Answer, Client, Question
from protos.parley.v1 import conversation_pb2 as wire
from protos.parley.v1.language_model_pb2 import Sampling
from services.local import memory
from services.local.stack import LocalStack
from training.data.sample import SAMPLE_RATE

MAX_PAUSE = 1.0  # seconds between the turns of a session
PARTS = ("speech_encoder", "first_token", "first_clause", "speech_decoder")
COLUMNS = (
    *("order", "sessions", "first_audio_p50", "first_audio_p95", *PARTS, "rest"),
    *("real_time_p95", "late", "turns", "failed"),
)


@dataclass
class Turn:
    answer: Answer
    late: bool


async def converse(connect: Callable[[], Client], arguments: argparse.Namespace, seed: int) -> list[Turn]:
    """One session after another, a turn each, as one user. The first is not counted: it warms up."""
    rng, spoken, done = random.Random(seed), list(islice(questions(seed), 1 + arguments.turns)), []
    config = wire.SessionConfig(
        turn_detection=wire.TURN_DETECTION_MANUAL, sampling=Sampling(max_tokens=arguments.max_tokens)
    )
    for number, question in enumerate(spoken):
        async with connect() as client:
            await client.open(config)
            await asyncio.sleep(rng.uniform(0, MAX_PAUSE))
            playing = Playing()
            sent = Question(audio=question.audio, images=[question.picture], sample_rate=SAMPLE_RATE)
            answer = await client.ask(sent, playing.take)
        if number:
            done.append(Turn(answer, playing.late))
    return done


class Playing:
    """The playback of an answer from its first chunk on. `late`: a chunk arrived after all before it was played."""

    def __init__(self) -> None:
        self.late = False
        self._began = 0.0

    def take(self, event: wire.ServerEvent) -> None:
        if event.HasField("audio"):
            now = time.monotonic()
            self._began = self._began or now
            self.late |= now - self._began > event.audio.offset / event.audio.sample_rate


async def run_sessions(sessions: int, one: Callable[[int], Awaitable[list[Turn]]]) -> list[Turn]:
    return [turn for turns in await asyncio.gather(*map(one, range(sessions))) for turn in turns]


def summary(order: str, sessions: int, turns: list[Turn]) -> dict[str, object]:
    """A row: milliseconds, medians of the parts."""
    good = [turn for turn in turns if turn.answer.audio]
    first = [turn.answer.first_audio * 1000 for turn in good]
    parts = {part: [getattr(turn.answer.latency, part) * 1000 for turn in good] for part in PARTS}
    rest = [(turn.answer.first_audio - turn.answer.latency.first_audio) * 1000 for turn in good]
    return {
        "order": order,
        "sessions": sessions,
        "first_audio_p50": percentile(first, 0.5),
        "first_audio_p95": percentile(first, 0.95),
        **{part: percentile(values, 0.5) for part, values in parts.items()},
        "rest": percentile(rest, 0.5),
        "real_time_p95": percentile([turn.answer.total / turn.answer.audio_seconds for turn in good], 0.95),
        "late": sum(turn.late for turn in good),
        "turns": len(turns),
        "failed": len(turns) - len(good),
    }


async def measure_services(arguments: argparse.Namespace, address: str) -> list[dict]:
    rows = []
    for sessions in arguments.sessions:
        taken = await run_sessions(sessions, lambda seed: converse(lambda: Client(address), arguments, seed))
        rows.append(summary("services", sessions, taken))
    return rows


async def measure_one_process(arguments: argparse.Namespace) -> list[dict]:
    direct, store, rows = DirectCalls(arguments.checkpoint), MemoryStore(), []
    await direct.start()
    for sessions in arguments.sessions:
        taken = await run_sessions(
            sessions, lambda seed: converse(lambda: DirectClient(direct, store), arguments, seed)
        )
        rows.append(summary("one process", sessions, taken))
    await direct.stop()
    return rows


async def measure_published(arguments: argparse.Namespace) -> list[dict]:
    model, rows = PublishedOrder(arguments.checkpoint, arguments.max_tokens), []

    async def session(seed: int) -> list:
        rng, done = random.Random(seed), []
        for number, question in enumerate(list(islice(questions(seed), 1 + arguments.turns))):
            await asyncio.sleep(rng.uniform(0, MAX_PAUSE) + question.seconds)  # the user speaks
            turn = await model.ask(question.audio, question.picture)
            if number:
                done.append(turn)
        return done

    for sessions in arguments.sessions:
        taken = await run_sessions(sessions, session)
        for name in ("first_clause", "whole"):
            values = [getattr(turn, name) * 1000 for turn in taken]
            rows.append(
                {
                    "order": f"published, {name.replace('_', ' ')}",
                    "sessions": sessions,
                    "first_audio_p50": percentile(values, 0.5),
                    "first_audio_p95": percentile(values, 0.95),
                    "turns": len(values),
                    "failed": 0,
                }
            )
    model.close()
    return rows


def services(arguments: argparse.Namespace, facts: dict) -> list[dict]:
    """Rows of the stack; a stack of its own is started and ended, and its start-up and memory go into `facts`."""
    if arguments.address:
        return asyncio.run(measure_services(arguments, arguments.address))
    with (
        everybody_let_in(),
        tempfile.TemporaryDirectory() as folder,
        LocalStack(arguments.checkpoint, Path(folder), 0, 0) as stack,
    ):
        rows = asyncio.run(measure_services(arguments, stack.state.gateway))
        facts["startup_s"] = stack.state.startup_seconds
        by_process = memory.by_process(stack.state.supervisor_pid)
        facts["memory_mb"] = {name: resident for name, (resident, _) in by_process.items()}
    return rows


def one_process(arguments: argparse.Namespace, facts: dict) -> list[dict]:
    return asyncio.run(measure_one_process(arguments))


def published(arguments: argparse.Namespace, facts: dict) -> list[dict]:
    return asyncio.run(measure_published(arguments))


ORDERS = {"services": services, "one-process": one_process, "published": published}


def compare(rows: list[dict]) -> dict[str, float]:
    """What the aims are about, at the smallest number of sessions: nothing for what was left out."""
    fewest = min(row["sessions"] for row in rows)
    by_order = {row["order"]: row for row in rows if row["sessions"] == fewest}
    ratios = {}
    if "services" in by_order and "one process" in by_order:
        for share in ("p50", "p95"):
            name = f"first_audio_{share}"
            ratios[f"services_cost_{share}_ms"] = round(by_order["services"][name] - by_order["one process"][name], 1)
    for order in ("published, first clause", "published, whole"):
        if "services" in by_order and order in by_order:
            sooner = by_order[order]["first_audio_p50"] / by_order["services"]["first_audio_p50"]
            ratios[f"times sooner than {order}"] = round(sooner, 2)
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/nano"))
    parser.add_argument("--sessions", nargs="+", type=int, default=[1, 4, 8], help="sessions at once")
    parser.add_argument("--turns", type=int, default=20, help="counted turns of each session")
    parser.add_argument("--max-tokens", type=int, default=64, help="of an answer")
    parser.add_argument("--address", help="a gateway that runs already, with the same checkpoint")
    parser.add_argument("--only", nargs="+", choices=ORDERS, default=list(ORDERS), help="leave the others out")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()

    durations = [question.seconds for question in islice(questions(0), 1, 1 + arguments.turns)]
    facts: dict[str, object] = {
        "machine": machine(),
        "checkpoint": str(arguments.checkpoint),
        "question_s": percentile(durations, 0.5),
    }
    rows: list[dict] = []
    for order in arguments.only:
        rows += ORDERS[order](arguments, facts)
    facts["ratios"] = compare(rows)
    print(table(rows, COLUMNS))
    print(f"milliseconds; parts are medians; the median question lasts {facts['question_s']:.2f} s")
    print(", ".join(f"{name} {value}" for name, value in facts["machine"].items()))
    for name in ("startup_s", "memory_mb", "ratios"):
        if name in facts:
            print(f"{name}: {facts[name]}")
    if arguments.json:
        write_json(arguments.json, {**facts, "rows": rows})


if __name__ == "__main__":
    main()
