"""What those inside notice when twice and four times as many users come as can be served in real time.

    python -m benchmarks.overload [--served N] [--times 2 4] [--seconds 60] [--json FILE] [--figure FILE]

`--served`: the most talkers that keep real time; without it 1, 2, 4, 8 and 16 are tried first (`benchmarks.load`). So
many talk (talker.py), with the defaults of admission; then more come within 5 s, until there are `--times` as many.
Who is refused comes again when the gateway says. After `--seconds` those who came leave, and one of those who were
there, in whose place one more comes.
- `alone`: the share of answers in real time before the others came; `in_time`: from then until they left, of everybody
  who was inside. An answer is in real time where its first audio came within 2 s of the question's last voiced sample
  and the player, which starts with 100 ms, never ran out;
- `inside`: the most sessions at once; `refused`: attempts; `refused_p95`, `refused_max`: milliseconds from the attempt
  to the refusal, connecting included; `untold`: refusals that did not say when to come again;
- `turned_away`: sessions that were refused when they were inside; `errors`: also turns that failed;
- `memory_before`, `memory_most`: MB that the stack's processes hold for themselves;
- `recovery`: seconds from when the others left until one more was let in and the last late answer was over.
Ends with status 1 where a row misses an aim.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load import (
    ADDRESS_HELP,
    LATE_FIRST_AUDIO,
    Load,
    add_options,
    measure_levels,
    merged,
    most_served,
    stack,
)
from benchmarks.measuring import everybody_let_in, machine, percentile, table, write_json
from benchmarks.overload_figure import draw, inside
from benchmarks.process_samples import Sampler

SETTLE_SECONDS = 20.0  # of those who can be served, alone
ARRIVAL_SECONDS = 5.0  # within which the others come
AFTER_SECONDS = 20.0  # that are watched when they have left
SAMPLE_SECONDS = 5.0
LEVELS = [1, 2, 4, 8, 16]
IN_TIME, REFUSED_MS, MEMORY, RECOVERY_SECONDS = 0.95, 100.0, 1.1, 10.0  # the aims
COLUMNS = (
    *("came", "served", "inside", "alone", "in_time", "turns", "first_audio_p95", "refused", "refused_p95"),
    *("refused_max", "untold", "turned_away", "errors", "memory_before", "memory_most", "recovery"),
)


@dataclass(frozen=True)
class Times:
    """`time.time()` of when the others came and left."""

    came: float
    left: float

    def between(self, events: list[dict]) -> list[dict]:
        return [each for each in events if self.came <= each["at"] < self.left]


def in_time(turn: dict) -> bool:
    return turn["answered"] and turn["first_audio"] <= LATE_FIRST_AUDIO and not turn["underruns"]


def mark(events: list[dict]) -> list[dict]:
    """Each turn has `in_time`; without the first turn of each talker, which warms it up."""
    seen: set[int] = set()
    kept = []
    for each in events:
        if each["what"] != "turn":
            kept.append(each)
        elif each["talker"] in seen:
            kept.append({**each, "in_time": in_time(each)})
        seen |= {each["talker"]} if each["what"] == "turn" else set()
    return kept


def share(turns: list[dict]) -> float:
    """In real time; nan where there were none."""
    return sum(each["in_time"] for each in turns) / len(turns) if turns else float("nan")


def recovery(events: list[dict], left: float, newcomer: int) -> float:
    """Seconds; infinite where the newcomer was never let in."""
    let_in = min((e["at"] for e in events if e["what"] == "open" and e["talker"] == newcomer), default=float("inf"))
    late = [e["at"] for e in events if e["what"] == "turn" and not e["in_time"] and e["at"] > left]
    return max([let_in, *late]) - left


def row(served: int, came: int, events: list[dict], times: Times, memory: tuple[float, float]) -> dict[str, object]:
    """`memory`: MB before the others came, and the most."""
    turns = [each for each in events if each["what"] == "turn"]
    during = times.between(turns)
    refusals = [each for each in events if each["what"] == "refused"]
    took = [1000 * each["seconds"] for each in refusals]
    return {
        "came": came,
        "served": served,
        "inside": max(inside(events)[1], default=0),
        "alone": share([each for each in turns if each["at"] < times.came]),
        "in_time": share(during),
        "turns": len(during),
        "first_audio_p95": percentile([1000 * each["first_audio"] for each in during if each["answered"]], 0.95),
        "refused": len(refusals),
        "refused_p95": percentile(took, 0.95),
        "refused_max": max(took, default=float("nan")),
        "untold": sum(each["retry_after"] is None for each in refusals),
        "turned_away": sum(each["what"] == "turned_away" for each in events),
        "errors": sum(each["what"] == "error" for each in events),
        "memory_before": memory[0],
        "memory_most": memory[1],
        "recovery": recovery(events, times.left, came),
    }


def missed(row: dict) -> list[str]:
    """The aims that a row misses."""
    aims = {
        f"{row['in_time']:.0%} of the answers in real time, not {IN_TIME:.0%}": row["in_time"] >= IN_TIME,
        "nobody was refused": row["refused"] > 0,
        f"refused after {row['refused_p95']:.0f} ms, not {REFUSED_MS:g}": not row["refused_p95"] > REFUSED_MS,
        "a refusal without a time": not row["untold"],
        "somebody inside was refused, or failed": not row["turned_away"] and not row["errors"],
        "memory grew": row["memory_most"] <= MEMORY * row["memory_before"] or not row["memory_before"],
        f"recovery took {row['recovery']:.0f} s, not {RECOVERY_SECONDS:g}": row["recovery"] <= RECOVERY_SECONDS,
    }
    return [what for what, met in aims.items() if not met]


def overload(load: Load, served: int, times: int, seconds: float) -> tuple[dict[str, object], list[dict]]:
    """A row, and all that the talkers reported."""
    came = served * times
    with Sampler(load.supervisor, SAMPLE_SECONDS) as sampler:
        leaving = load.talk([served - 1], SETTLE_SECONDS + seconds)
        staying = [load.talk(range(served - 1), SETTLE_SECONDS + seconds + AFTER_SECONDS)] if served > 1 else []
        time.sleep(SETTLE_SECONDS)
        began = time.time()
        others = load.talk(range(served, came), seconds, arriving=ARRIVAL_SECONDS)
        time.sleep(seconds)
        moments = Times(began, time.time())
        newcomer = load.talk([came], AFTER_SECONDS)
        events = mark(merged([leaving, *staying, others, newcomer]))
    before = [sample.total for sample in sampler.samples if sample.at < moments.came]
    memory = max(before), max(sample.total for sample in sampler.samples)
    return row(served, came, events, moments, memory), events


def measure(arguments: argparse.Namespace, clips: Path) -> dict[str, object]:
    facts: dict[str, object] = {"levels": [], "rows": [], "events": []}
    served = arguments.served
    if not served:
        with everybody_let_in(), stack(arguments, clips) as load:
            facts |= measure_levels(arguments, load)
        served = most_served(facts["levels"])
    with stack(arguments, clips) as load:
        for times in arguments.times:
            found, events = overload(load, served, times, arguments.seconds)
            facts["rows"].append(found)
            facts["events"].append(events)
            print(table([found], COLUMNS), flush=True)
    return facts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--address", help=ADDRESS_HELP)
    parser.add_argument("--served", type=int, default=0, help="talkers that keep real time; 0: found first")
    parser.add_argument("--times", nargs="+", type=int, default=[2, 4], help="as many as that come")
    parser.add_argument("--seconds", type=float, default=60.0, help="that they stay; also of each level before")
    arguments = parser.parse_args()
    arguments.sessions = LEVELS
    facts: dict[str, object] = {"machine": machine(), "command": " ".join(sys.argv[1:])}
    with tempfile.TemporaryDirectory() as clips:
        facts |= measure(arguments, Path(clips))
    print(table(facts["rows"], COLUMNS))
    print(", ".join(f"{name} {value}" for name, value in facts["machine"].items()))
    failures = [f"{row['came']} came: {what}" for row in facts["rows"] for what in missed(row)]
    print("\n".join(failures) or "all aims are met")
    if arguments.json:
        write_json(arguments.json, facts)
    if arguments.figure:
        draw(facts, arguments.figure)
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
