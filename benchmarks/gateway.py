"""How many open microphones one gateway process carries: its CPU, its memory, and the delay that it adds.

    python -m benchmarks.gateway [--checkpoint DIR] [--wire realtime grpc] [--microphones 100 300] [--talkers 2]
                                 [--seconds 20] [--json FILE]

A whole stack is started, with a gateway of one process, unless `--gateway` names one that runs; it must take so many
connections (PARLEY_GATEWAY_SERVER_MAX_CONNECTIONS, PARLEY_GATEWAY_ADMISSION_GROWTH=0). Hands-free clients in a process
of their own (gateway_microphones.py) send 40 ms of sound every 40 ms:
- `none`: connections that send nothing;
- `silent`: digital silence, as of a muted microphone, which the gateway does not compute after half a second;
- `room`: noise at −50 dB of full scale, of which it computes every frame, as it does of speech.
Then talkers (talker.py, a process each) say sentences and hear the answers, first alone, then beside the most
microphones: what they feel of those, and what a talker costs the gateway.

- `cores`: CPU seconds of the gateway's process, by second;
- `delay`: milliseconds from when a client sends sound to when the gateway is done with it, measured at the client;
- `detector`: of it, from the sound's arrival at the detector to its result, as the gateway counts it (the upper edge of
  a bucket; of each call the longest); `loop_late`: how late the gateway's event loop is, likewise;
- `kb`: memory of the gateway for each connection; `first_audio`: of the talkers, from their last voiced sample.
The limit in the same run is the network alone: so many microphones' frames, nothing else, in this process.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import psutil
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.gateway_microphones import ROOM_DB, SOUNDS
from benchmarks.measuring import everybody_let_in, machine, percentile, settings, table, write_json
from benchmarks.talker import RATE
from benchmarks.workload import small_talk_clips
from services.gateway.media.detector import FRAME_SECONDS, PERIOD
from services.gateway.media.silero import CONTEXT_BYTES, FRAME_BYTES, START, Silero
from services.local import memory, processes
from services.local.stack import LocalStack

COLUMNS = (
    *("wire", "microphones", "sound", "talkers", "cores", "delay_p50", "delay_p95", "detector_p50"),
    *("detector_p95", "loop_late_p95", "mb", "kb", "first_audio_p50", "first_audio_p95", "turns", "errors"),
    *("client_cores", "client_late_ms"),
)
CLIPS = 12
WARM_UP_SECONDS = 4.0
MOST_CORES, MOST_DELAY_MS = 0.6, 30.0  # the aims
GRACE_SECONDS = 30.0
HISTOGRAMS = {"detector": "parley_voice_activity_seconds", "loop_late": "parley_event_loop_lag_seconds"}


@dataclass(frozen=True)
class Level:
    wire: str
    microphones: int
    sound: str
    talkers: int = 0


@dataclass(frozen=True)
class Snapshot:
    """Of the gateway's process."""

    at: float
    cpu: float  # seconds
    bytes: int
    counts: dict[str, dict[float, float]]  # histogram → bucket's upper edge → how often a value was not above it

    def histogram(self, name: str, before: Snapshot, share: float) -> float:
        """Milliseconds: the upper edge of the bucket that `share` of the values since `before` do not exceed."""
        seen = {edge: count - before.counts[name].get(edge, 0.0) for edge, count in self.counts[name].items()}
        total = max(seen.values(), default=0.0)
        return next((1000 * edge for edge in sorted(seen) if seen[edge] >= share * total), 0.0) if total else 0.0


class Gateway:
    """A gateway's process on this machine."""

    def __init__(self, pid: int, http: str, grpc: str):
        """`http`, `grpc`: host:port."""
        self._process = psutil.Process(pid)
        self.addresses = {"realtime": http, "grpc": grpc}
        self.http = http

    def snapshot(self) -> Snapshot:
        times, used = self._process.cpu_times(), self._process.memory_full_info().uss
        return Snapshot(time.monotonic(), times.user + times.system, used, self._counts())

    def _counts(self) -> dict[str, dict[float, float]]:
        with urllib.request.urlopen(f"http://{self.http}/metrics", timeout=10) as page:
            families = {each.name: each for each in text_string_to_metric_families(page.read().decode())}
        return {
            name: {
                float(sample.labels["le"]): sample.value
                for sample in families[metric].samples
                if sample.name.endswith("_bucket")
            }
            for name, metric in HISTOGRAMS.items()
        }


class Microphones:
    """Clients in a process of their own, open as long as the context."""

    def __init__(self, address: str, level: Level):
        options = {"address": address, "wire": level.wire, "sound": level.sound, "sessions": level.microphones}
        command = [sys.executable, "-m", "benchmarks.gateway_microphones"]
        command += [part for name, value in options.items() for part in (f"--{name}", str(value))]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Microphones:
        if not self._process.stdout.readline():
            raise RuntimeError("the clients have not come in; what they say is above")
        self._used = psutil.Process(self._process.pid)
        return self

    def cpu(self) -> float:
        times = self._used.cpu_times()
        return times.user + times.system

    def end(self) -> dict:
        """What they have seen."""
        out, _ = self._process.communicate("\n", timeout=GRACE_SECONDS)
        return json.loads(out.splitlines()[-1])

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()


@contextmanager
def talking(gateway: Gateway, clips: Path, talkers: int, seconds: float) -> Iterator[list[subprocess.Popen]]:
    """Talkers, each a process; `seconds`: how long they talk."""
    url = f"ws://{gateway.http}/v1/realtime?model=parley"
    command = [sys.executable, "-m", "benchmarks.talker", "--url", url, "--clips", str(clips)]
    command += ["--seconds", str(seconds), "--interrupting", "0", "--talkers"]
    running = [subprocess.Popen([*command, str(each)], stdout=subprocess.PIPE, text=True) for each in range(talkers)]
    try:
        yield running
    finally:
        for each in running:
            if each.poll() is None:
                each.kill()
            each.wait()


def heard(running: list[subprocess.Popen]) -> list[dict]:
    """What the talkers report, once they are done; of each but its first turn, which warms up."""
    events: list[dict] = []
    for each in running:
        lines = [json.loads(line) for line in each.communicate(timeout=GRACE_SECONDS)[0].splitlines()]
        turns = [line for line in lines if line["what"] == "turn"]
        events += turns[1:] + [line for line in lines if line["what"] in ("error", "refused")]
    return events


def measure(gateway: Gateway, level: Level, clips: Path, seconds: float) -> dict[str, object]:
    empty = gateway.snapshot()
    with ExitStack() as context:
        microphones = None
        if level.microphones:
            microphones = context.enter_context(Microphones(gateway.addresses[level.wire], level))
        running = context.enter_context(talking(gateway, clips, level.talkers, WARM_UP_SECONDS + seconds))
        time.sleep(WARM_UP_SECONDS)
        before, client = gateway.snapshot(), microphones.cpu() if microphones else 0.0
        time.sleep(seconds)
        after = gateway.snapshot()
        client = microphones.cpu() - client if microphones else 0.0
        seen = microphones.end() if microphones else {"delays": [], "errors": [], "late": 0.0}
        turns = heard(running)
    return row(level, empty, before, after, seen, turns) | {"client_cores": client / (after.at - before.at)}


def row(
    level: Level, empty: Snapshot, before: Snapshot, after: Snapshot, seen: dict, turns: list[dict]
) -> dict[str, object]:
    elapsed, used = after.at - before.at, after.cpu - before.cpu
    delays = [1000 * delay for delay in seen["delays"]]
    first = [1000 * each["first_audio"] for each in turns if each.get("answered")]
    return {
        "wire": level.wire,
        "microphones": level.microphones,
        "sound": level.sound,
        "talkers": level.talkers,
        "cores": used / elapsed,
        "delay_p50": percentile(delays, 0.5),
        "delay_p95": percentile(delays, 0.95),
        "detector_p50": after.histogram("detector", before, 0.5),
        "detector_p95": after.histogram("detector", before, 0.95),
        "loop_late_p95": after.histogram("loop_late", before, 0.95),
        "mb": after.bytes / 1e6,
        "kb": (after.bytes - empty.bytes) / 1e3 / (level.microphones + level.talkers),
        "first_audio_p50": percentile(first, 0.5),
        "first_audio_p95": percentile(first, 0.95),
        "turns": len(first),
        "errors": len(seen["errors"]) + sum(each["what"] != "turn" for each in turns),
        "client_late_ms": 1000 * seen["late"],
    }


def network_alone(microphones: int, seconds: float = 3.0) -> float:
    """Cores that the network takes for so many microphones, in calls as large as theirs."""
    network, rng = Silero(), np.random.default_rng(0)
    rows = max(1, round(microphones * PERIOD / FRAME_SECONDS))
    level = 32768 * 10 ** (ROOM_DB / 20)
    windows = [rng.normal(0, level, (CONTEXT_BYTES + FRAME_BYTES) // 2).astype("<i2").tobytes() for _ in range(rows)]
    states, calls, began, used = [START] * rows, 0, time.monotonic(), time.process_time()
    while time.monotonic() - began < seconds:
        _, states = network(windows, states)
        calls += 1
    return (time.process_time() - used) / (calls * rows) * microphones / FRAME_SECONDS


def levels(arguments: argparse.Namespace) -> list[Level]:
    most, planned = max(arguments.microphones), []
    for wire in arguments.wire:
        planned.append(Level(wire, most, "none"))
        planned += [Level(wire, count, sound) for sound in SOUNDS[1:] for count in arguments.microphones]
    if arguments.talkers:
        planned += [Level(arguments.wire[0], 0, "none", arguments.talkers)]
        planned += [Level(arguments.wire[0], most, sound, arguments.talkers) for sound in SOUNDS[1:]]
    return planned


def keeps_the_aims(facts: dict) -> bool:
    """A gateway with the most microphones, that nobody talks into."""
    return facts["cores"] <= MOST_CORES and facts["delay_p95"] <= MOST_DELAY_MS and not facts["errors"]


@contextmanager
def stack(arguments: argparse.Namespace) -> Iterator[Gateway]:
    """The gateway that was named, or that of a stack that lives as long as the context."""
    if arguments.gateway:
        pid, http, grpc = arguments.gateway
        yield Gateway(int(pid), http, grpc)
        return
    room = max(arguments.microphones) + arguments.talkers + 8
    with (
        everybody_let_in(),
        settings({"PARLEY_GATEWAY_SERVER_MAX_CONNECTIONS": str(room)}),
        tempfile.TemporaryDirectory() as folder,
        LocalStack(arguments.checkpoint, Path(folder), 0, 0) as started,
    ):
        pids = processes.descendants(started.state.supervisor_pid)
        (pid,) = [each for each in pids if memory.name_of(psutil.Process(each).cmdline()) == "services.gateway"]
        yield Gateway(pid, started.state.http, started.state.gateway)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/nano"))
    parser.add_argument(
        "--gateway",
        nargs=3,
        metavar=("PID", "HTTP", "GRPC"),
        help="one that runs here: its process, host:port, host:port",
    )
    parser.add_argument("--wire", nargs="+", choices=["realtime", "grpc"], default=["realtime", "grpc"])
    parser.add_argument("--microphones", nargs="+", type=int, default=[100, 300], help="open at once, in turn")
    parser.add_argument("--talkers", type=int, default=2, help="who talk beside the most microphones; 0: nobody")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each row")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()
    facts: dict[str, object] = {"machine": machine(), "command": " ".join(sys.argv[1:]), "rows": []}
    with tempfile.TemporaryDirectory() as clips:
        for number, clip in enumerate(islice(small_talk_clips(0, RATE), CLIPS)):
            clip.save(Path(clips) / f"{number:03}.npz")
        with stack(arguments) as gateway:
            for level in levels(arguments):
                facts["rows"].append(measure(gateway, level, Path(clips), arguments.seconds))
                print(table(facts["rows"][-1:], COLUMNS), flush=True)
    most = max(arguments.microphones)
    facts["network_alone"] = {"microphones": most, "cores": network_alone(most)}
    print(table(facts["rows"], COLUMNS))
    print(f"the network alone, {most} microphones: {facts['network_alone']['cores']:.2f} cores")
    for each in facts["rows"]:
        if each["microphones"] == most and each["sound"] != "none" and not each["talkers"]:
            print(f"{each['wire']}, {most} × {each['sound']}: aims {'kept' if keeps_the_aims(each) else 'missed'}")
    print(", ".join(f"{name} {value}" for name, value in facts["machine"].items()))
    if arguments.json:
        write_json(arguments.json, facts)


if __name__ == "__main__":
    main()
