"""One try of the kill matrix: a spoken question about a picture, and a process lost in the middle of its turn."""

from __future__ import annotations

import asyncio
import contextlib
import math
import signal
import time
import urllib.error
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import grpc
import psutil
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.resume import ANSWER_SECONDS, Run, ask
from benchmarks.workload import Spoken
from protos.parley.v1 import conversation_pb2 as wire
from services.local import memory, ports, processes, state
from services.local.standby import IDLE

PHASES = ("listening", "thinking", "speaking")
STANDBY_SECONDS = 60.0
RECOVERY_SECONDS = 90.0  # that a stack has to be whole again
POLL_SECONDS = 0.25
PORTS = range(ports.BLOCKS.start, ports.BLOCKS.stop)


@dataclass(frozen=True)
class Row:
    """A process that is lost, and the aims: seconds that an answer may end later, until the loss is noticed, until the
    stack is whole again."""

    name: str
    process: str  # what its name begins with, as `parley status` has it
    signal: signal.Signals = signal.SIGKILL
    replicas: int = 1
    gateways: int = 1
    listens: bool = False  # the one that replaces it has begun once it listens
    first: bool = False  # its part of a turn is over before a word is understood: it is lost before the question
    may_lose: bool = False  # all services start anew: a turn that would wait for longer than they may take is lost
    later: float = float("inf")
    noticed: float = float("inf")
    recovery: float = float("inf")


@dataclass
class Try:
    """Seconds; nan: not measured. `failure`: why the turn is lost, "" if it is not. `hit`: it lost a connection."""

    phase: str
    failure: str = ""
    hit: bool = True
    later: float = float("nan")  # the end of the answer, than undisturbed
    dry: float = float("nan")  # in which playback had nothing to play
    noticed: float = float("nan")  # until `/readyz` says that something is missing
    begun: float = float("nan")  # until the process that replaces it was started
    recovery: float = float("nan")  # until the stack is whole again


class Victim:
    """Of some processes, the one that the turn has kept busiest."""

    def __init__(self, candidates: Iterable[psutil.Process], number: signal.Signals):
        self._before = {each: _cpu(each) for each in candidates}
        self._number = number
        self.process: psutil.Process | None = None
        self.lost_at = self.lost_clock = 0.0  # `time.monotonic()`, `time.time()`

    def strike(self) -> None:
        """Once."""
        if self.process is None:
            self.process = max(self._before, key=lambda each: _cpu(each) - self._before[each])
            self.lost_at, self.lost_clock = time.monotonic(), time.time()
            self.process.send_signal(self._number)

    def end(self) -> None:
        """Kills it, whether it hangs or has ended."""
        with contextlib.suppress(psutil.NoSuchProcess):
            self.process.kill()

    @property
    def gone(self) -> bool:
        return processes.started_at(self.process.pid) is None


def found(supervisor: int, row: Row) -> Iterator[psutil.Process]:
    """The processes of a row that serve."""
    for pid in processes.descendants(supervisor):
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            if memory.name_of(process.cmdline()).startswith(row.process) and (not row.listens or _listens(process)):
                yield process


def _listens(process: psutil.Process) -> bool:
    """On a port of the stack's block, as HAProxy and replicas do once they serve."""
    sockets = process.net_connections(kind="tcp")
    return any(each.status == psutil.CONN_LISTEN and each.laddr.port in PORTS for each in sockets)


def _cpu(process: psutil.Process) -> float:
    """Seconds."""
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return times.user + times.system


async def until_one_stands_by(stack: state.StackState) -> None:
    """Waits, for a bounded time, until a process has imported what a replica needs."""
    until = time.monotonic() + STANDBY_SECONDS
    while time.monotonic() < until and not await asyncio.to_thread(_one_stands_by, stack.supervisor_pid):
        await asyncio.sleep(POLL_SECONDS)


def _one_stands_by(supervisor: int) -> bool:
    for pid in processes.descendants(supervisor):
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            if memory.name_of(process.cmdline()) == IDLE:
                return process.cpu_times().user > 2.0 and process.cpu_percent(0.5) < 5.0  # it has imported everything
    return False


def is_ready(stack: state.StackState) -> bool | None:
    """What `/readyz` says; None where it does not answer."""
    try:
        state.fetch(f"{stack.url}readyz", 2.0, stack.tls_authority)
    except urllib.error.HTTPError:
        return False
    except OSError:
        return None
    return True


def reconnects(stack: state.StackState) -> float:
    """Connections to services that the stack's gateway has lost since it runs."""
    text = state.fetch(f"{stack.url}metrics", 5.0, stack.tls_authority).decode()
    family = next(each for each in text_string_to_metric_families(text) if each.name == "parley_reconnects")
    return sum(sample.value for sample in family.samples if sample.name.endswith("_total"))


async def lose(
    stack: state.StackState, row: Row, phase: str, question: Spoken, victim: Victim, addresses: Sequence[str]
) -> Try:
    """Asks, loses the process in the middle of the turn, waits until the stack is whole, and asks the same again.

    `addresses`: of gateways; the last one is the stack's own.
    """
    watching, before = asyncio.create_task(watch(stack, row, victim)), await asyncio.to_thread(reconnects, stack)
    if row.first and phase == "listening":
        victim.strike()
    run, failure = await disturbed(phase, question, victim, addresses)
    victim.strike()  # where the turn was over before
    if row.gateways > 1:
        victim.end()  # the second gateway is nobody's to replace
    found_out = await watching
    if run is None or math.isnan(found_out["recovery"]):
        return Try(phase, failure or "the stack stays broken", **found_out)
    hit = run.connections > 1 or await asyncio.to_thread(reconnects, stack) > before
    return compared(Try(phase, hit=hit, **found_out), run, await ask(question, *addresses[-1:]))


def compared(one: Try, run: Run, whole: Run) -> Try:
    """An answer that is not that of the undisturbed turn, to the sample, is lost."""
    one.later, one.dry = run.answer.total - whole.answer.total, run.dry - whole.dry
    if run.answer.error is not None:
        one.failure = f"{run.answer.error.code}: {run.answer.error.message}"
    elif run.answer.finish_reason != whole.answer.finish_reason:
        one.failure = f"ended: {run.answer.finish_reason}, undisturbed: {whole.answer.finish_reason}"
    elif run.answer.text != whole.answer.text:
        one.failure = f"another text: {run.answer.text!r}, undisturbed: {whole.answer.text!r}"
    elif run.answer.audio != whole.answer.audio:
        one.failure = f"{len(run.answer.audio)} bytes of audio, undisturbed: {len(whole.answer.audio)} others"
    return one


async def disturbed(phase: str, question: Spoken, victim: Victim, addresses: Sequence[str]) -> tuple[Run | None, str]:
    """The turn in which `victim` is lost; where it has no end, None and why."""
    sign = {"listening": "transcript", "thinking": "speech_stopped", "speaking": "audio"}[phase]

    def on_event(event: wire.ServerEvent) -> None:
        if event.HasField(sign):
            victim.strike()

    try:
        return await ask(question, *addresses, on_event=on_event), ""
    except TimeoutError:
        return None, f"not over after {ANSWER_SECONDS:g} s"
    except grpc.RpcError as error:
        return None, f"{error.code().name}: {error.details()}"
    except ConnectionError as error:
        return None, str(error)


async def watch(stack: state.StackState, row: Row, victim: Victim) -> dict[str, float]:
    """`noticed`, `begun` and `recovery` of a try; without those that never came."""
    seen: dict[str, float] = {}
    while victim.process is None:
        await asyncio.sleep(POLL_SECONDS)
    while (now := time.monotonic() - victim.lost_at) < RECOVERY_SECONDS:
        ready = await asyncio.to_thread(is_ready, stack)
        if ready is False:
            seen.setdefault("noticed", now)
        others = [each for each in found(stack.supervisor_pid, row) if each != victim.process]
        if ready and len(others) >= row.replicas and victim.gone:
            begun = max(each.create_time() for each in others) - victim.lost_clock
            return {**seen, "begun": begun if begun > 0 else math.nan, "recovery": now}
        await asyncio.sleep(POLL_SECONDS)
    return {**seen, "recovery": math.nan}
