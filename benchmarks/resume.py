"""What a client notices when its gateway is killed in the middle of an answer, and it goes on through another one.

    python -m benchmarks.resume [--checkpoint DIR] [--answers 20] [--json FILE]

A local stack and, for each answer, a second gateway process on the same Redis and services. A spoken question about a
picture is asked twice through the second gateway, in a session of its own each time: undisturbed, and so that the
gateway is killed with SIGKILL as soon as the first audio has come. The client (cli/client.py) goes on by itself through
the stack's own gateway. Milliseconds:
- `reconnect`: from the kill to the other gateway's `session`: the client's own part;
- `pause`: from there to the first event that it did not have;
- `later`: how much later than undisturbed the last audio came, from the end of the question;
- `dry`: how long playback that begins with the first audio would have stood still, and `undisturbed` for how long in
  the other run. An answer is made faster than it is spoken, so what is ahead covers a pause.
`same`: text and audio are those of the undisturbed answer, to the byte. `over`: the kill came when all was delivered or
in the log already; those have nothing to make again, and count for `same` only.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from benchmarks.measuring import machine, percentile, table, write_json
from benchmarks.workload import Spoken, questions
from cli.client import Answer, Client, Question
from protos.parley.v1 import conversation_pb2 as wire
from services.local import state
from services.local.stack import LocalStack
from services.rpc.decorator import TOKEN_VARIABLE
from training.data.sample import SAMPLE_RATE

ANSWER_SECONDS = 60.0
CONFIG = wire.SessionConfig(turn_detection=wire.TURN_DETECTION_MANUAL)
COLUMNS = ("milliseconds", "p50", "p95", "worst", "answers")


class WatchedClient(Client):
    """Notes when each event comes."""

    def __init__(self, *addresses: str):
        super().__init__(*addresses)
        self.came: list[tuple[float, wire.ServerEvent]] = []

    async def events(self) -> AsyncIterator[wire.ServerEvent]:
        async for event in super().events():
            self.came.append((time.monotonic(), event))
            yield event


@dataclass
class Run:
    answer: Answer
    came: list[tuple[float, wire.ServerEvent]]
    asked: float  # `time.monotonic()` of the end of the question
    killed: float = 0.0

    @property
    def connections(self) -> int:
        """That its client opened."""
        return 1 + sum(event.HasField("session") for _, event in self.came[1:])

    @property
    def last_audio(self) -> float:
        """Seconds from the end of the question."""
        return max(at for at, event in self.came if event.HasField("audio")) - self.asked

    @property
    def dry(self) -> float:
        """Seconds in which playback has nothing to play."""
        played_until, dry = 0.0, 0.0
        for at, event in self.came:
            if event.HasField("audio"):
                if played_until:
                    dry += max(0.0, at - played_until)
                seconds = len(event.audio.audio) / 2 / event.audio.sample_rate
                played_until = max(at, played_until) + seconds
        return dry

    @property
    def resumed(self) -> tuple[float, wire.SessionReady]:
        """When the second `session` came, and what it said."""
        _, (at, event) = [each for each in self.came if each[1].HasField("session")]
        return at, event.session


@dataclass
class Measured:
    reconnect: list[float] = field(default_factory=list)
    pause: list[float] = field(default_factory=list)
    later: list[float] = field(default_factory=list)
    dry: list[float] = field(default_factory=list)
    undisturbed: list[float] = field(default_factory=list)
    same: int = 0
    over: int = 0
    wrong: list[str] = field(default_factory=list)

    def add(self, whole: Run, cut: Run) -> None:
        if (whole.answer.text, whole.answer.audio) == (cut.answer.text, cut.answer.audio) and cut.answer.complete:
            self.same += 1
        else:
            error = cut.answer.error.message if cut.answer.error else "another text or audio"
            self.wrong.append(f"{cut.answer.finish_reason}: {error}")
        at, ready = cut.resumed
        if not ready.running_turn_id:
            self.over += 1
            return
        first = min(came for came, event in cut.came if came > at)
        self.reconnect.append(at - cut.killed)
        self.pause.append(first - at)
        self.later.append(cut.last_audio - whole.last_audio)
        self.dry.append(cut.dry)
        self.undisturbed.append(whole.dry)

    def rows(self) -> list[dict[str, object]]:
        rows = []
        for name in ("reconnect", "pause", "later", "dry", "undisturbed"):
            values = [1000 * value for value in getattr(self, name)]
            worst = max(values, default=float("nan"))
            shares = {"p50": percentile(values, 0.5), "p95": percentile(values, 0.95), "worst": worst}
            rows.append({"milliseconds": name, **shares, "answers": len(values)})
        return rows


@contextlib.asynccontextmanager
async def second_gateway(stack: state.StackState) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """A gateway process beside the stack's own, and its address."""
    environment = {
        "PARLEY_GATEWAY_UPSTREAM_ADDRESSES": stack.services,
        "PARLEY_GATEWAY_STORE_REDIS_URL": stack.redis_url,
        "PARLEY_GATEWAY_SERVER_PORT": "0",
        "PARLEY_GATEWAY_SERVER_HTTP_PORT": "0",
        TOKEN_VARIABLE: stack.service_token,
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.gateway"),
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        line = await asyncio.wait_for(process.stdout.readline(), 60)
        yield process, f"127.0.0.1:{json.loads(line)['grpc']}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def ask(
    question: Spoken, *addresses: str, on_event: Callable[[wire.ServerEvent], None] = lambda event: None
) -> Run:
    """In a session of its own. `on_event` is called with what comes of the question. Raises `TimeoutError`."""
    sent = Question(audio=question.audio, images=[question.picture], sample_rate=SAMPLE_RATE)
    began = time.monotonic()
    async with WatchedClient(*addresses) as client:
        await client.open(CONFIG, resumable=True)
        answer = await asyncio.wait_for(client.ask(sent, on_event), ANSWER_SECONDS)
        stopped = [at for at, event in client.came if event.HasField("speech_stopped")]
        return Run(answer, client.came, stopped[0] if stopped else began)


async def measure(stack: state.StackState, answers: int, seed: int) -> Measured:
    measured = Measured()
    for number, question in enumerate(islice(questions(seed), answers), 1):
        async with second_gateway(stack) as (process, address):
            await ask(question, address)  # warms the new process up
            whole = await ask(question, address)
            killed: list[float] = []

            def kill(event: wire.ServerEvent, process=process, killed=killed) -> None:
                if event.HasField("audio") and not killed:
                    killed.append(time.monotonic())
                    process.kill()

            cut = await ask(question, address, stack.gateway, on_event=kill)
            cut.killed = killed[0]
            measured.add(whole, cut)
        print(f"{number}/{answers}", end="\r", file=sys.stderr, flush=True)
    return measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/nano"))
    parser.add_argument("--answers", type=int, default=20)
    parser.add_argument("--seed", type=int, default=3, help="Of the questions")
    parser.add_argument("--json", type=Path, help="Where to write the figures")
    arguments = parser.parse_args()
    facts = machine()
    with tempfile.TemporaryDirectory() as folder, LocalStack(arguments.checkpoint, Path(folder), 0, 0) as stack:
        measured = asyncio.run(measure(stack.state, arguments.answers, arguments.seed))
    rows = measured.rows()
    facts |= {"answers": arguments.answers, "same": measured.same, "over": measured.over, "wrong": measured.wrong}
    print(table(rows, COLUMNS))
    print(json.dumps(facts, indent=1))
    if arguments.json:
        write_json(arguments.json, {**facts, "rows": rows})
    if measured.wrong:
        sys.exit(1)


if __name__ == "__main__":
    main()
