"""What a user notices when one process of the stack of `parley up` is killed, or hangs, in the middle of a turn.

    python -m benchmarks.kill_matrix                                    all rows: three hours on two cores
    python -m benchmarks.kill_matrix --only gateway llm_core/2-hung --tries 2
    python -m benchmarks.kill_matrix --table                            what was measured so far

A row is a process: `llm_core` a service's only replica, `llm_core/2` one of two, `gateway/2` a gateway beside another
one, `-hung` where it is stopped (SIGSTOP) and not killed (SIGKILL). Each row has a stack of its own. In each try a
client (cli/client.py) asks aloud about a picture, and the process is lost while it is listened to (the first words are
understood), while the answer is thought of (the question has just ended) or while it is spoken (the first audio is
here), in turn; of two replicas the one that the turn has kept busier. The vision encoder, which is needed first, is
lost before the question and not while it is listened to. A replica is lost when a process stands by to become the next
one (docs/serving.md): a second one within some 15 s takes longer. Once the stack is whole again the same is asked
undisturbed.
Seconds:
- `later`: how much later the answer was whole than undisturbed;
- `dry`: how much longer playback that begins with the first audio stood still;
- `noticed`: from the loss until `/readyz` of the gateway said that something is missing;
- `begun`: from the loss until the process that replaces it was started, where none stood by; the rest of the recovery
  is the time to load;
- `recovery`: from the loss until the process was replaced and `/readyz` said that nothing is missing.
`hit`: tries in which the turn, or its client, lost a connection; the others only show that the loss did no harm.
`lost`: turns that failed, had no end, or whose text or audio was not that of the undisturbed answer, to the sample.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import asdict
from functools import partial
from itertools import islice
from pathlib import Path

import psutil

from benchmarks.fault_results import Results
from benchmarks.kill_try import PHASES, Row, Try, Victim, found, lose, until_one_stands_by
from benchmarks.measuring import ADMISSION, machine, percentile, settings, table
from benchmarks.resume import ask, second_gateway
from benchmarks.workload import Spoken, questions
from services.local import state
from services.local.stack import LocalStack
from services.local.supervisor import MAX_RESTARTS, RESTART_WINDOW, StackError
from services.registry import SERVICES

RESULTS = Path(".parley/kill-matrix.json")
COLUMNS = (
    *("row", "tries", "hit", "lost", "later p50", "later worst", "dry worst", "noticed worst"),
    *("begun worst", "recovery p50", "recovery worst", "load", "aim", "met"),
)
HUNG = signal.SIGSTOP
PACE = RESTART_WINDOW / (MAX_RESTARTS - 1)  # seconds between tries: a stack whose child ends more often gives up


def _service(name: str) -> list[Row]:
    """A service's only replica, and one of two."""
    of = partial(Row, process=name, listens=True, first=name == "vision_encoder")
    return [
        of(name, later=6.0),
        of(f"{name}/2", replicas=2, later=0.7),
        of(f"{name}-hung", signal=HUNG, recovery=20.0),
        of(f"{name}/2-hung", signal=HUNG, replicas=2, later=3.0, recovery=20.0),
    ]


ROWS = [
    *(row for name in SERVICES for row in _service(name)),
    Row("gateway", "services.gateway", later=5.0),
    Row("gateway/2", "services.gateway", gateways=2, later=1.0),
    Row("gateway-hung", "services.gateway", HUNG, recovery=20.0),
    Row("gateway/2-hung", "services.gateway", HUNG, gateways=2, later=3.0),
    Row("haproxy", "haproxy", listens=True),
    Row("haproxy-hung", "haproxy", HUNG, listens=True, recovery=20.0),
    Row("haproxy_manager", "ray::HAProxyManager"),
    Row("serve_controller", "ray::ServeController"),
    Row("valkey", "valkey-server", later=6.0),
    Row("raylet", "raylet", may_lose=True, noticed=5.0),
    Row("gcs", "gcs_server", may_lose=True, noticed=5.0),
]


async def tries_of(row: Row, stack: state.StackState, asked: Iterator[Spoken], count: int) -> list[Try]:
    """Ends early where the stack is not whole again."""
    tries: list[Try] = []
    began = -math.inf
    for number, question in enumerate(islice(asked, count)):
        await asyncio.sleep(began + PACE - time.monotonic())
        began = time.monotonic()
        phase = PHASES[number % len(PHASES)]
        if row.process in SERVICES:
            await until_one_stands_by(stack)
        async with AsyncExitStack() as beside:
            tries.append(await one_try(row, stack, phase, question, beside))
        print(f"{row.name}: {tries[-1]}", file=sys.stderr, flush=True)
        if tries[-1].recovery != tries[-1].recovery:
            break
    return tries


async def one_try(row: Row, stack: state.StackState, phase: str, question: Spoken, beside: AsyncExitStack) -> Try:
    """`beside`: in which a second gateway runs, where the row has one: the client begins with it, and it is lost."""
    if row.gateways == 1:
        victim = Victim(found(stack.supervisor_pid, row), row.signal)
        return await lose(stack, row, phase, question, victim, [stack.gateway])
    process, address = await beside.enter_async_context(second_gateway(stack))
    await ask(question, address)  # warms the new process up
    victim = Victim([psutil.Process(process.pid)], row.signal)
    return await lose(stack, row, phase, question, victim, [address, stack.gateway])


def summary(row: Row, tries: list[Try]) -> dict[str, object]:
    """The table's row."""

    def values(name: str) -> list[float]:
        return [value for each in tries if (value := getattr(each, name)) == value]

    def worst(name: str) -> float:
        return max(values(name), default=float("nan"))

    lost = [each for each in tries if each.failure]
    aims = {name: getattr(row, name) for name in ("later", "noticed", "recovery")}
    aims = {name: aim for name, aim in aims.items() if aim < float("inf")}
    reached = all(len(values(name)) == len(tries) and worst(name) <= aim for name, aim in aims.items())
    is_met = reached and (row.may_lose or not lost)
    return {
        "row": row.name,
        "tries": len(tries),
        "hit": sum(each.hit for each in tries),
        "lost": len(lost),
        "later p50": percentile(values("later"), 0.5),
        "later worst": worst("later"),
        "dry worst": worst("dry"),
        "noticed worst": worst("noticed"),
        "begun worst": worst("begun"),
        "recovery p50": percentile(values("recovery"), 0.5),
        "recovery worst": worst("recovery"),
        "load": round(os.getloadavg()[0]),
        "aim": ", ".join([*([] if row.may_lose else ["0 lost"]), *(f"{name} {aim:g}" for name, aim in aims.items())]),
        "met": "yes" if is_met else "no",
        "failures": [f"{each.phase}: {each.failure}" for each in lost],
        "each": [asdict(each) for each in tries],
    }


def measure(row: Row, checkpoint: Path, tries: int, seed: int) -> dict[str, object]:
    """On a stack of its own."""
    replicas = {f"{SERVICES[row.process].environment_prefix}NUM_REPLICAS": "2"} if row.replicas == 2 else {}
    with (
        settings({**ADMISSION, **replicas}),
        tempfile.TemporaryDirectory() as folder,
        LocalStack(checkpoint, Path(folder) / ".parley", 0, 0) as stack,
    ):
        return summary(row, asyncio.run(tries_of(row, stack.state, questions(seed), tries)))


def print_table(results: Results) -> int:
    """The exit status is 1 where a turn was lost."""
    rows = results.facts["rows"]
    print(table(rows, COLUMNS))
    print("seconds;", json.dumps(results.facts.get("machine")))
    for one in rows:
        for failure in one["failures"]:
            print(f"{one['row']}: {failure}")
    return int(any(one["lost"] for one in rows))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [row.name for row in ROWS]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="ROW", help=", ".join(names))
    parser.add_argument("--tries", type=int, default=10, help="of each row, in the three phases of a turn")
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/nano"))
    parser.add_argument("--seed", type=int, default=5, help="of the questions")
    parser.add_argument("--results", type=Path, default=RESULTS, help="file that keeps the rows")
    parser.add_argument("--table", action="store_true", help="print what was measured, and measure nothing")
    arguments = parser.parse_args()
    results = Results(arguments.results, ("row",))
    if not arguments.table:
        results.add(machine=machine())
        for row in ROWS:
            if row.name in arguments.only:
                try:
                    results.add_row(measure(row, arguments.checkpoint, arguments.tries, arguments.seed))
                except StackError as error:  # the rows after it are measured all the same
                    print(f"{row.name}: {error}", file=sys.stderr, flush=True)
    return print_table(results)


if __name__ == "__main__":
    sys.exit(main())
