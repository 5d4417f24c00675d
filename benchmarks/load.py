"""How many users a stack serves at once: talkers in processes of their own, over the Realtime API, in real time.

    python -m benchmarks.load [--checkpoint DIR] [--sessions 1 4 8 16] [--seconds 60] [--overload 0] [--minutes 0]
                              [--json FILE] [--figure FILE]

Each talker (see talker.py) says held-out sentences of small talk hands-free: the server notices where they begin and
end. It waits for the answer to be played, pauses for 0.5 to 2 s, and goes on; one answer in five is interrupted.
- `first audio` counts from the last voiced sample of the clean sentence to the first audio at the talker;
- a player starts with 100 ms of audio; `underruns` is the share of answers in which it ran out of audio;
- `real time` is the time from the first audio of an answer to its last, for each second of audio;
- `noticed` is the time from the first voiced sample of an interruption to the server's word that the user speaks.

With `--overload N` as many come within 20 seconds, more than can be served: who is refused comes again when the server
says. 0 is twice the most sessions that kept real time. With `--minutes` the level `--long-sessions` lasts so long.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from benchmarks.load_figure import draw
from benchmarks.measuring import everybody_let_in, machine, percentile, table, write_json
from benchmarks.process_use import Use
from benchmarks.talker import RATE
from benchmarks.workload import small_talk_clips
from services.local.stack import LocalStack

CLIPS = 48  # that are said over and over, by each talker in another order
ARRIVAL_SECONDS = 2.0  # within which the talkers of a level come
OVERLOAD_ARRIVAL_SECONDS = 20.0
GRACE_SECONDS = 30.0  # that a talker may take longer than it was told to
LATE_FIRST_AUDIO, MOST_UNDERRUNS = 2.0, 0.02  # beyond either, sessions did not keep real time
WARM_UP_SECONDS = 15.0
THIRDS = ("third", "turns", "first_audio_p50", "first_audio_p95", "underruns", "unanswered")
COLUMNS = (
    *("sessions", "turns", "first_audio_p50", "first_audio_p95", "noticed_p50", "underruns", "real_time_p50"),
    *("real_time_p95", "unanswered", "errors", "refused", "cores", "client_cores", "memory_mb"),
)


@dataclass
class Level:
    """So many talkers at once, and what they report."""

    sessions: int
    seconds: float
    events: list[dict]
    cpu: dict[str, float]  # CPU seconds, by process of the stack
    memory: dict[str, float]  # MB, by process of the stack, at the end
    client_cpu: float  # CPU seconds of all talkers

    def turns(self) -> list[dict]:
        """Those that began in the level's time, without the first of each talker, which warms up."""
        seen: set[int] = set()
        return [
            each
            for each in self.events
            if each["what"] == "turn" and (each["talker"] in seen or seen.add(each["talker"]))
        ]

    def count(self, what: str) -> int:
        return sum(each["what"] == what for each in self.events)

    def row(self) -> dict[str, object]:
        turns = self.turns()
        answered = [each for each in turns if each["answered"]]
        first = [1000 * each["first_audio"] for each in answered]
        noticed = [1000 * each["noticed"] for each in turns if each["interrupting"] and each["noticed"]]
        pace = [each["generated_s"] / each["audio_s"] for each in answered if not each["interrupted"]]
        return {
            "sessions": self.sessions,
            "turns": len(turns),
            "first_audio_p50": percentile(first, 0.5),
            "first_audio_p95": percentile(first, 0.95),
            "noticed_p50": percentile(noticed, 0.5),
            "underruns": sum(each["underruns"] > 0 for each in answered) / max(1, len(answered)),
            "real_time_p50": percentile(pace, 0.5),
            "real_time_p95": percentile(pace, 0.95),
            "unanswered": len(turns) - len(answered),
            "errors": self.count("error"),
            "refused": self.count("refused"),
            "cores": sum(self.cpu.values()) / self.seconds,
            "client_cores": self.client_cpu / self.seconds,
            "memory_mb": self.memory.get("total", 0.0),
        }


def keeps_real_time(row: dict) -> bool:
    late = row["first_audio_p95"] > 1000 * LATE_FIRST_AUDIO
    return row["turns"] > 0 and not late and row["underruns"] <= MOST_UNDERRUNS and not row["errors"]


class Load:
    """Starts talkers against a gateway and gathers what they report."""

    def __init__(self, arguments: argparse.Namespace, http: str, supervisor: int, folder: Path):
        """`http`: host:port; `supervisor`: process of a stack on this machine, 0 where there is none."""
        self._arguments, self._supervisor, self._folder = arguments, supervisor, folder
        self._url = f"ws://{http}/v1/realtime?model={arguments.model}"
        for number, clip in enumerate(islice(small_talk_clips(0, RATE), CLIPS)):
            clip.save(folder / f"{number:03}.npz")

    def run(self, sessions: int, seconds: float, arrival: float = ARRIVAL_SECONDS) -> Level:
        before, clients = self._use(), _children_cpu()
        started = time.monotonic()
        talkers = []
        for number in range(sessions):
            time.sleep(max(0.0, started + number * arrival / sessions - time.monotonic()))
            talkers.append(self._start(number, seconds - (time.monotonic() - started)))
        lines = []
        for talker in talkers:
            out, _ = talker.communicate(timeout=seconds + GRACE_SECONDS)
            lines += out.splitlines()
        after = self._use()
        events = sorted((json.loads(line) for line in lines), key=lambda event: event["at"])
        cpu = after.since(before)
        return Level(sessions, time.monotonic() - started, events, cpu, after.memory, _children_cpu() - clients)

    def _start(self, number: int, seconds: float) -> subprocess.Popen:
        arguments = self._arguments
        options = {"url": self._url, "key": arguments.key, "clips": self._folder, "talkers": number}
        options |= {"seconds": seconds, "interrupting": arguments.interrupting}
        command = [sys.executable, "-m", "benchmarks.talker"]
        command += [part for name, value in options.items() for part in (f"--{name}", str(value))]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def _use(self) -> Use:
        return Use.of(self._supervisor) if self._supervisor else Use()


def _children_cpu() -> float:
    """CPU seconds of the processes that this one has started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def overload_sessions(asked: int, rows: list[dict]) -> int:
    """Twice the most sessions that kept real time; as many as were asked for, if any were."""
    served = [row["sessions"] for row in rows if keeps_real_time(row)]
    return asked or 2 * max(served, default=1)


def thirds(level: Level) -> list[dict[str, object]]:
    """The first, second and last third of a long level: whether something grows."""
    turns, rows = level.turns(), []
    size = -(-len(turns) // 3)
    for third in range(3):
        part = turns[third * size : (third + 1) * size]
        first = [1000 * each["first_audio"] for each in part if each["answered"]]
        rows.append(
            {
                "third": third + 1,
                "turns": len(part),
                "first_audio_p50": percentile(first, 0.5),
                "first_audio_p95": percentile(first, 0.95),
                "underruns": sum(each.get("underruns", 0) > 0 for each in part) / max(1, len(part)),
                "unanswered": len(part) - len(first),
            }
        )
    return rows


def measure_levels(arguments: argparse.Namespace, load: Load) -> dict[str, object]:
    facts: dict[str, object] = {"levels": [], "processes": []}
    for sessions in arguments.sessions:
        level = load.run(sessions, arguments.seconds)
        facts["levels"].append(level.row())
        facts["processes"].append({"sessions": sessions, "cpu_s": level.cpu, "memory_mb": level.memory})
        print(table([level.row()], COLUMNS), flush=True)
    return facts


def measure_overload(arguments: argparse.Namespace, load: Load, sessions: int) -> dict[str, object]:
    level = load.run(sessions, arguments.overload_seconds, OVERLOAD_ARRIVAL_SECONDS)
    print(f"{sessions} where fewer can be served", table([level.row()], COLUMNS), sep="\n", flush=True)
    return {"overload": {"row": level.row(), "events": level.events}}


def measure_long(arguments: argparse.Namespace, load: Load) -> dict[str, object]:
    level = load.run(arguments.long_sessions, 60 * arguments.minutes)
    print(table([level.row()], COLUMNS), table(thirds(level), THIRDS), sep="\n", flush=True)
    return {"long": {"row": level.row(), "thirds": thirds(level), "cpu_s": level.cpu, "memory_mb": level.memory}}


@contextlib.contextmanager
def stack(arguments: argparse.Namespace, clips: Path) -> Iterator[Load]:
    """Load on the gateway that was named, or on a stack that lives as long as the context; both warmed up."""
    with contextlib.ExitStack() as context:
        if arguments.address:
            load = Load(arguments, arguments.address, 0, clips)
        else:
            folder = context.enter_context(tempfile.TemporaryDirectory())
            started = context.enter_context(LocalStack(arguments.checkpoint, Path(folder), 0, 0))
            load = Load(arguments, started.state.http, started.state.supervisor_pid, clips)
        load.run(1, WARM_UP_SECONDS)
        yield load


def measure(arguments: argparse.Namespace, clips: Path) -> dict[str, object]:
    """The facts for the table, the file and the figure. Only in the overload and the long run are sessions refused."""
    facts: dict[str, object] = {"levels": [], "processes": []}
    if arguments.sessions:
        with everybody_let_in(), stack(arguments, clips) as load:
            facts |= measure_levels(arguments, load)
    if arguments.overload is not None or arguments.minutes:
        with stack(arguments, clips) as load:
            if arguments.overload is not None:
                facts |= measure_overload(arguments, load, overload_sessions(arguments.overload, facts["levels"]))
            if arguments.minutes:
                facts |= measure_long(arguments, load)
    return facts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/nano"))
    parser.add_argument("--address", help="host:port of the HTTP server of a gateway that runs; none: one is started")
    parser.add_argument("--key", default="none", help="an API key, where the gateway asks for one")
    parser.add_argument("--model", default="parley", help="the model's name at the gateway")
    parser.add_argument("--sessions", nargs="*", type=int, default=[1, 4, 8, 16], help="talkers at once, in turn")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each number of sessions")
    parser.add_argument("--interrupting", type=float, default=0.2, help="share of answers that are interrupted")
    parser.add_argument("--overload", type=int, help="talkers that come where fewer can be served; 0: twice as many")
    parser.add_argument("--overload-seconds", type=float, default=90.0)
    parser.add_argument("--minutes", type=float, default=0.0, help="of the long run; 0: none")
    parser.add_argument("--long-sessions", type=int, default=8, help="talkers of the long run")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--figure", type=Path, help="draw the curves into this file (PNG)")
    arguments = parser.parse_args()
    facts: dict[str, object] = {"machine": machine(), "command": " ".join(sys.argv[1:])}
    with tempfile.TemporaryDirectory() as clips:
        facts |= measure(arguments, Path(clips))
    print(table(facts["levels"], COLUMNS))
    print("milliseconds; cores and memory are of the stack; one process a talker")
    print(", ".join(f"{name} {value}" for name, value in facts["machine"].items()))
    if arguments.json:
        write_json(arguments.json, facts)
    if arguments.figure:
        draw(facts, arguments.figure)


if __name__ == "__main__":
    main()
