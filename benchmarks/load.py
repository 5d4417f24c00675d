"""How many users a stack serves at once: talkers in processes of their own, over the Realtime API, in real time.

    python -m benchmarks.load [--checkpoint DIR] [--sessions 1 4 8 16] [--seconds 60] [--json FILE] [--figure FILE]

Each talker (see talker.py) says held-out sentences of small talk hands-free: the server notices where they begin and
end. It waits for the answer to be played, pauses for 0.5 to 2 s, and goes on; one answer in five is interrupted.
- `first audio` counts from the last voiced sample of the clean sentence to the first audio at the talker;
- a player starts with 100 ms of audio; `underruns` is the share of answers in which it ran out of audio;
- `real time` is the time from the first audio of an answer to its last, for each second of audio;
- `noticed` is the time from the first voiced sample of an interruption to the server's word that the user speaks.

Everybody is let in. What happens when more come than can be served: overload.py; for half an hour: soak.py.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from benchmarks.load_figure import draw
from benchmarks.measuring import everybody_let_in, machine, percentile, table, write_json
from benchmarks.process_use import Use
from benchmarks.talker import RATE
from benchmarks.talkers import Talkers
from benchmarks.workload import small_talk_clips
from services.local.stack import LocalStack

ADDRESS_HELP = "host:port of the HTTP server of a gateway that runs; none: one is started"
CLIPS = 48  # that are said over and over, by each talker in another order
ARRIVAL_SECONDS = 2.0  # within which the talkers of a level come
LATE_FIRST_AUDIO, MOST_UNDERRUNS = 2.0, 0.02  # beyond either, sessions did not keep real time
WARM_UP_SECONDS = 15.0
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
        self._arguments, self._folder = arguments, folder
        self.http, self.supervisor = http, supervisor
        for number, clip in enumerate(islice(small_talk_clips(0, RATE), CLIPS)):
            clip.save(folder / f"{number:03}.npz")

    def run(self, sessions: int, seconds: float) -> Level:
        """Each talker is a process of its own."""
        before, clients = self._use(), _children_cpu()
        started = time.monotonic()
        running = []
        for number in range(sessions):
            time.sleep(max(0.0, started + number * ARRIVAL_SECONDS / sessions - time.monotonic()))
            running.append(self.talk([number], seconds - (time.monotonic() - started)))
        events = merged(running)
        after = self._use()
        cpu = after.since(before)
        return Level(sessions, time.monotonic() - started, events, cpu, after.memory, _children_cpu() - clients)

    def talk(self, numbers: Sequence[int], seconds: float, **options: object) -> Talkers:
        """Talkers in one process. `options`: of `benchmarks.talker`."""
        arguments = self._arguments
        options = {"interrupting": arguments.interrupting, **options}
        url = f"ws://{self.http}/v1/realtime?model={arguments.model}"
        report = self._folder / f"{numbers[0]}.jsonl"
        return Talkers(numbers, seconds, report, url=url, key=arguments.key, clips=self._folder, **options)

    def _use(self) -> Use:
        return Use.of(self.supervisor) if self.supervisor else Use()


def merged(running: Sequence[Talkers]) -> list[dict]:
    """What all have reported, in the order in which it happened; returns when they are done."""
    return sorted((event for talkers in running for event in talkers.events()), key=lambda event: event["at"])


def _children_cpu() -> float:
    """CPU seconds of the processes that this one has started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def most_served(rows: list[dict]) -> int:
    """The most sessions that kept real time; at least one."""
    return max((row["sessions"] for row in rows if keeps_real_time(row)), default=1)


def measure_levels(arguments: argparse.Namespace, load: Load) -> dict[str, object]:
    """The facts for the table, the file and the figure."""
    facts: dict[str, object] = {"levels": [], "processes": []}
    for sessions in arguments.sessions:
        level = load.run(sessions, arguments.seconds)
        facts["levels"].append(level.row())
        facts["processes"].append({"sessions": sessions, "cpu_s": level.cpu, "memory_mb": level.memory})
        print(table([level.row()], COLUMNS), flush=True)
    return facts


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


def add_options(parser: argparse.ArgumentParser) -> None:
    """Of all benchmarks that make a `Load`."""
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/nano"))
    parser.add_argument("--key", default="none", help="an API key, where the gateway asks for one")
    parser.add_argument("--model", default="parley", help="the model's name at the gateway")
    parser.add_argument("--interrupting", type=float, default=0.2, help="share of answers that are interrupted")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--figure", type=Path, help="draw the curves into this file (PNG)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--address", help=ADDRESS_HELP)
    parser.add_argument("--sessions", nargs="*", type=int, default=[1, 4, 8, 16], help="talkers at once, in turn")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each number of sessions")
    arguments = parser.parse_args()
    facts: dict[str, object] = {"machine": machine(), "command": " ".join(sys.argv[1:])}
    with tempfile.TemporaryDirectory() as clips, everybody_let_in(), stack(arguments, Path(clips)) as load:
        facts |= measure_levels(arguments, load)
    print(table(facts["levels"], COLUMNS))
    print("milliseconds; cores and memory are of the stack; one process a talker")
    print(", ".join(f"{name} {value}" for name, value in facts["machine"].items()))
    if arguments.json:
        write_json(arguments.json, facts)
    if arguments.figure:
        draw(facts, arguments.figure)


if __name__ == "__main__":
    main()
