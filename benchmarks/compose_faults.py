"""What callers notice when a container of the compose stack is killed: `make compose-test`.

    python -m benchmarks.compose_faults                              all of it: 20 minutes on two cores
    python -m benchmarks.compose_faults up                           builds, starts, asks aloud
    python -m benchmarks.compose_faults kill --only llm-core head    these faults, on the stack that `up` started
    python -m benchmarks.compose_faults down                         asks aloud again, stops, prints the table

Two callers ask once a second each, but not before they have their last answer, which is spoken and of a few words. A
container is killed with SIGKILL and started again after `away` seconds. `worst` is the longest wait for the end of an
answer that ended after the kill, `before` the same before it. An answer that ends with an error, or not at all, has
failed. `healthy`: seconds until all containers were healthy again; `session`: whether an earlier one could go on;
`load`: of the whole machine in the last minute, whoever caused it. The stack is a compose project of its own, on free
ports; results are kept in a file between the steps.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from benchmarks.compose_stack import ComposeError, ComposeStack
from benchmarks.fault_results import Results
from benchmarks.measuring import machine, table
from cli.client import Client, Question
from parley.media.audio import read_audio, to_pcm16
from protos.parley.v1 import conversation_pb2 as wire
from protos.parley.v1.language_model_pb2 import Sampling

CALLERS = 2
PERIOD = 1.0  # seconds from one question of a caller to its next
BEFORE = 8.0  # seconds of questions before the kill, and after everything is healthy again
SETTLE = 6.0
RECOVERY = 150.0  # seconds that a stack has to be healthy again
ANSWER = 60.0  # seconds after which an answer counts as failed
TURNS = ("text", "picture", "speech")
RESULTS = Path(".parley/compose-faults.json")
KEY = ("killed", "replicas")  # of a row
COLUMNS = (
    *("killed", "replicas", "away", "asked", "failed", "before", "worst"),
    *("healthy", "session", "load", "aim", "met"),
)


@dataclass(frozen=True)
class Fault:
    """One container that is killed, and what callers may notice: `aim` is of `worst`, in seconds."""

    service: str  # of the compose file
    aim: float
    above: bool = False  # the aim is above the worst answer before the kill
    away: float = 2.0  # seconds until it is started again
    replicas: int = 1
    turn: str = "text"  # what is asked, so that the killed service is needed
    reconnect: bool = False  # callers lose their connection, and ask again


def _service(name: str, **options) -> list[Fault]:
    """A service's only replica, and one of two."""
    return [Fault(name, aim=25.0, **options), Fault(name, aim=2.0, replicas=2, **options)]


FAULTS = [
    Fault("head", aim=2.0, above=True, away=8.0),
    # Docker starts a container that crashed again at once.
    Fault("ray-store", aim=2.0, above=True, away=0.0),
    Fault("sessions", aim=2.0, above=True, away=0.0),
    Fault("embeddings", aim=2.0, above=True, away=0.0, turn="picture"),
    Fault("gateway", aim=25.0, reconnect=True),
    *_service("vision-encoder", turn="picture"),
    *_service("speech-encoder", turn="speech"),
    *_service("llm-core"),
    *_service("speech-decoder"),
]


@dataclass
class Asked:
    """One question: when it was asked (monotonic seconds), how long until its answer ended, why it failed if it did."""

    at: float
    seconds: float = 0.0
    failure: str = ""


@dataclass
class Callers:
    """Ask until they are stopped. `ask`: asks one question and returns why it failed, "" if it did not."""

    ask: Callable[[int], Awaitable[str]]
    asked: list[Asked] = field(default_factory=list)
    stopping: bool = False

    async def run(self) -> None:
        await asyncio.gather(*(self._caller(number / CALLERS * PERIOD) for number in range(CALLERS)))

    async def _caller(self, delay: float) -> None:
        await asyncio.sleep(delay)
        while not self.stopping:
            one = Asked(time.monotonic())
            self.asked.append(one)
            one.failure = await self.ask(len(self.asked))
            one.seconds = time.monotonic() - one.at
            await asyncio.sleep(max(0.0, PERIOD - one.seconds))


class Questions:
    """Asks one of a kind of questions on a new session each."""

    def __init__(self, address: str, turn: str, reconnect: bool):
        self.address, self.turn, self.reconnect = address, turn, reconnect
        self.sound = to_pcm16(read_audio(Path("examples/question.wav"), 16_000)).tobytes() if turn == "speech" else b""

    async def ask(self, number: int) -> str:
        """Why it failed, "" if it did not."""
        until = time.monotonic() + ANSWER
        while True:
            try:
                async with asyncio.timeout_at(asyncio.get_running_loop().time() + until - time.monotonic()):
                    failure, _ = await self.once(number)
                    return failure
            except TimeoutError:
                return f"no answer in {ANSWER:g} s"
            except (grpc.RpcError, ConnectionError) as error:
                if not self.reconnect:
                    return str(error.details() if isinstance(error, grpc.RpcError) else error)
            await asyncio.sleep(0.25)

    async def once(self, number: int, session: str = "") -> tuple[str, str]:
        """Why it failed, and the id of its session."""
        config = wire.SessionConfig(turn_detection=wire.TURN_DETECTION_MANUAL, sampling=Sampling(max_tokens=12))
        async with Client(self.address) as client:
            await client.open(config, session)
            answer = await client.ask(self.question(number))
        if answer.error is not None:
            return f"{answer.error.code}: {answer.error.message}", client.session_id
        return "" if answer.complete and answer.audio else f"ended: {answer.finish_reason}", client.session_id

    def question(self, number: int) -> Question:
        if self.turn == "speech":
            return Question(audio=self.sound, paced=False)
        return Question(text="what is this?", images=[picture(number)] if self.turn == "picture" else [])


def picture(number: int) -> bytes:
    """A PNG that was not sent before: encoders and stores know none of it."""
    from PIL import Image

    data = io.BytesIO()
    Image.new("RGB", (96, 96), (number % 256, number // 256 % 256, int(time.time()) % 256)).save(data, "PNG")
    return data.getvalue()


async def measure(stack: ComposeStack, fault: Fault) -> dict[str, object]:
    """Kills a container while questions are asked, and returns the table's row."""
    questions = Questions(stack.gateway(), fault.turn, fault.reconnect)
    _, session = await questions.once(0)
    callers = Callers(questions.ask)
    running = asyncio.create_task(callers.run())
    await asyncio.sleep(BEFORE)
    killed = time.monotonic()
    await asyncio.to_thread(stack.kill, fault.service)
    await asyncio.sleep(fault.away)
    await asyncio.to_thread(stack.start_killed)
    healthy = await asyncio.to_thread(stack.wait_until_healthy, RECOVERY) - killed
    questions.address = stack.gateway()
    await asyncio.sleep(SETTLE)
    callers.stopping = True
    await running
    kept = not (await questions.once(0, session))[0]
    return row(fault, callers.asked, killed, healthy, kept)


def row(fault: Fault, asked: list[Asked], killed: float, healthy: float, kept: bool) -> dict[str, object]:
    """Seconds. An answer that was under way at the kill counts as after it."""
    before = max((one.seconds for one in asked if one.at + one.seconds < killed), default=float("nan"))
    after = [one for one in asked if one.at + one.seconds >= killed]
    worst = max((one.seconds for one in after), default=float("nan"))
    failures = [one.failure for one in asked if one.failure]
    limit = fault.aim + (before if fault.above else 0.0)
    return {
        "killed": fault.service,
        "replicas": fault.replicas,
        "away": fault.away,
        "asked": len(asked),
        "failed": len(failures),
        "before": before,
        "worst": worst,
        "healthy": healthy,
        "session": "kept" if kept else "lost",
        "load": round(os.getloadavg()[0]),
        "aim": f"+{fault.aim:g}" if fault.above else f"{fault.aim:g}",
        "met": "yes" if worst <= limit and not failures else "no",
        "failures": sorted(set(failures)),
    }


def chosen(only: list[str], replicas: list[int]) -> list[Fault]:
    return [fault for fault in FAULTS if (not only or fault.service in only) and fault.replicas in replicas]


def up(stack: ComposeStack, results: Results) -> None:
    results.add(rows=[], machine=machine(), build_seconds=stack.build(), start_seconds=stack.up())
    print(stack.ask(), flush=True)


def kill(stack: ComposeStack, results: Results, faults: list[Fault]) -> None:
    """The stack is scaled up once, for all faults with two replicas, and stays so."""
    services = {fault.service for fault in FAULTS if fault.replicas > 1}
    for fault in sorted(faults, key=lambda fault: fault.replicas):
        if fault.replicas > 1:
            stack.up(dict.fromkeys(services, fault.replicas))
        print(f"killing {fault.service}, one of {fault.replicas} …", flush=True)
        new = asyncio.run(measure(stack, fault))
        results.add_row(new)
        print(table([new], COLUMNS), *new["failures"], sep="\n", flush=True)


def down(stack: ComposeStack, results: Results) -> int:
    """Prints the table; the exit status is 1 where an answer failed."""
    print(stack.ask(), flush=True)
    stack.down()
    return print_table(results)


def print_table(results: Results) -> int:
    rows = results.facts["rows"]
    print(table(rows, COLUMNS))
    facts = {name: value for name, value in results.facts.items() if name != "rows"}
    print("seconds;", json.dumps(facts))
    for one in rows:
        for failure in one["failures"]:
            print(f"{one['killed']}: {failure}")
    return int(any(one["failed"] for one in rows))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", nargs="?", choices=["all", "up", "kill", "down", "table"], default="all")
    names = list(dict.fromkeys(fault.service for fault in FAULTS))
    parser.add_argument("--only", nargs="+", choices=names, default=[], metavar="CONTAINER", help=", ".join(names))
    parser.add_argument("--replicas", nargs="+", type=int, choices=[1, 2], default=[1, 2], help="of a killed service")
    parser.add_argument("--results", type=Path, default=RESULTS, help="file that is kept between the steps")
    arguments = parser.parse_args()
    stack, results = ComposeStack(), Results(arguments.results, KEY)
    faults = chosen(arguments.only, arguments.replicas)
    try:
        if arguments.step in ("all", "up"):
            up(stack, results)
        if arguments.step in ("all", "kill"):
            kill(stack, results, faults)
        if arguments.step in ("all", "down"):
            return down(stack, results)
        return print_table(results) if arguments.step == "table" else 0
    except ComposeError as error:
        return f"compose-test: {error}"
    finally:
        if arguments.step == "all":
            stack.down()


if __name__ == "__main__":
    sys.exit(main())
