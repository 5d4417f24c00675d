"""Half an hour of use: whether anything grows, and whether all answers are right.

    python -m benchmarks.soak [--minutes 30] [--talkers 8] [--microphones 50] [--json FILE] [--figure FILE]

On a stack that is started with everybody let in, with sessions that are kept for a minute and with small caches in the
LLM core, so that the store and the caches are full early:
- talkers (talker.py) over the Realtime API, hands-free; one answer in five is interrupted, and each leaves after a
  minute and comes again;
- open microphones in rooms where nobody speaks (gateway_microphones.py);
- questions whose answers are known, every second one cut in its middle and gone on with (soak_checks.py);
- input that no client should send (soak_bad_input.py).

Memory (what a process holds for itself) and descriptors are taken every 10 s. `growth`: the median of the last fifth of
the time after `--settle` minutes over that of its first fifth; the aim is 2 %, or 2 MB and 2 descriptors of small
processes. `late`: answers whose first audio took more than 2 s, or that ran dry; no aim here: the load is fixed, and
machines differ. Ends with status 1 where an aim is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks import soak_bad_input
from benchmarks.gateway import Level, Microphones
from benchmarks.load import Load, add_options
from benchmarks.measuring import everybody_let_in, machine, settings, table, write_json
from benchmarks.overload import in_time
from benchmarks.process_samples import Sample, Sampler
from benchmarks.soak_checks import Checks
from benchmarks.soak_figure import draw
from services.local.stack import LocalStack
from services.local.state import StackState

SAMPLE_SECONDS = 10.0
STAY_SECONDS = 60.0  # of a talker's session
CHECK_PAUSE, BAD_PAUSE = 5.0, 3.0  # seconds
CACHES = {
    "PARLEY_GATEWAY_STORE_SESSION_SECONDS": "60",
    "PARLEY_LLM_CORE_NUM_SLOTS": "16",  # on any machine: of nano they take 48 MB
    "PARLEY_LLM_CORE_KV_MEMORY_MB": "64",
    "PARLEY_LLM_CORE_ENCODER_CACHE_MB": "16",
}
MOST_GROWTH = 0.02
SMALL = {"memory": 2.0, "descriptors": 2}  # MB; growth by so much is none
COLUMNS = ("process", "memory", "memory_end", "memory_growth", "descriptors", "descriptors_end", "descriptors_growth")
COUNTS = ("turns", "unanswered", "late", "interrupted", "reconnected", "errors", "turned_away")


class BadInput:
    """Sends it until it is cancelled. `wrong`: what was wrong with the answers."""

    def __init__(self, state: StackState):
        self._state, self._rng = state, random.Random(0)
        self.sent = 0
        self.wrong: list[str] = []

    async def run(self, pause: float) -> None:
        """`pause`: seconds between two."""
        while True:
            wrong = await soak_bad_input.send_one(self._state, self._rng, self.sent)
            self.sent += 1
            if wrong:
                self.wrong.append(wrong)
            await asyncio.sleep(pause)


def talk_counts(events: Sequence[dict], talkers: int) -> dict[str, int]:
    turns = [each for each in events if each["what"] == "turn"]
    return {
        "turns": len(turns),
        "unanswered": sum(not each["answered"] for each in turns),
        "late": sum(each["answered"] and not in_time(each) for each in turns),
        "interrupted": sum(each["interrupted"] for each in turns),
        "reconnected": sum(each["what"] == "open" for each in events) - talkers,
        "errors": sum(each["what"] == "error" for each in events),
        "turned_away": sum(each["what"] == "turned_away" for each in events),
    }


def gone_wrong(events: Sequence[dict]) -> list[dict]:
    """Errors and questions without an answer: `talker`, `at` (seconds from the first event), and what it `says`.

    Of a question without an answer: the events that came in its time.
    """
    wrong = [each for each in events if each["what"] == "error" or (each["what"] == "turn" and not each["answered"])]
    return [{"talker": each["talker"], "at": each["at"] - events[0]["at"], "says": _says(each)} for each in wrong]


def _says(event: dict) -> str:
    if event["what"] == "error":
        return event["message"]
    return f"no answer, after {', '.join(event['events']) or 'no event'}"


def growth_rows(samples: Sequence[Sample], settle: float) -> list[dict[str, object]]:
    """By process, largest first, of those that live at the end. `settle`: seconds at the start that do not count."""
    counted = [each for each in samples if each.at - samples[0].at >= settle]
    fifth = max(1, len(counted) // 5)
    first, last = counted[:fifth], counted[-fifth:]
    rows = []
    for name in sorted(last[-1].memory, key=last[-1].memory.get, reverse=True):
        row: dict[str, object] = {"process": name}
        for what in SMALL:
            begun, ended = _median(first, what, name), _median(last, what, name)
            grown = ended - begun > SMALL[what]
            row |= {what: begun, f"{what}_end": ended, f"{what}_growth": ended / begun - 1 if grown and begun else 0.0}
        rows.append(row)
    return rows


def _median(samples: Sequence[Sample], what: str, name: str) -> float:
    return statistics.median(getattr(each, what).get(name, 0) for each in samples)


def missed(facts: dict) -> list[str]:
    """What the aims say, and was not so."""
    found = []
    for row in facts["processes"]:
        for what in SMALL:
            if row[f"{what}_growth"] > MOST_GROWTH:
                found.append(f"{row['process']}: {what} {row[what]:.4g} → {row[f'{what}_end']:.4g}")
    talk = facts["talk"]
    found += [f"{talk[name]} {name}" for name in ("unanswered", "errors", "turned_away") if talk[name]]
    found += [f"{name}: {each}" for name in ("checks", "bad_input", "microphones") for each in facts[name]["wrong"]]
    return found


async def use(state: StackState, checks: Checks, bad: BadInput, seconds: float) -> None:
    """Checks and bad input beside the talkers."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
            group.create_task(checks.run(CHECK_PAUSE))
            group.create_task(bad.run(BAD_PAUSE))


def soak(arguments: argparse.Namespace, load: Load, state: StackState) -> tuple[dict[str, object], list[Sample]]:
    """The facts, and what the processes held."""
    seconds, checks, bad = 60 * arguments.minutes, Checks(state.gateway), BadInput(state)
    asyncio.run(checks.learn())
    level = Level("realtime", arguments.microphones, "room")
    with Sampler(load.supervisor, SAMPLE_SECONDS) as sampler, Microphones(load.http, level) as microphones:
        talkers = load.talk(range(arguments.talkers), seconds, stay=STAY_SECONDS)
        asyncio.run(use(state, checks, bad, seconds))
        events = talkers.events()
        heard = microphones.end()
    facts = {
        "talk": talk_counts(events, arguments.talkers),
        "gone_wrong": gone_wrong(events),
        "checks": {"asked": checks.asked, "cut": checks.cut, "wrong": checks.wrong},
        "bad_input": {"sent": bad.sent, "wrong": bad.wrong},
        "microphones": {"open": arguments.microphones, "wrong": heard["errors"]},
        "processes": growth_rows(sampler.samples, 60 * arguments.settle),
        "samples": [asdict(each) for each in sampler.samples],
    }
    return facts, sampler.samples


def show(facts: dict) -> None:
    print(table(facts["processes"], COLUMNS))
    print(table([facts["talk"]], COUNTS))
    for each in facts["gone_wrong"]:
        print(f"{each['at']:.0f} s, talker {each['talker']}: {each['says']}")
    for name in ("checks", "bad_input", "microphones"):
        counts = {what: value for what, value in facts[name].items() if what != "wrong"}
        print(f"{name}: {counts}, {len(facts[name]['wrong'])} wrong")
    print(", ".join(f"{name} {value}" for name, value in facts["machine"].items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--settle", type=float, default=5.0, help="minutes at the start in which memory may grow")
    parser.add_argument("--talkers", type=int, default=8)
    parser.add_argument("--microphones", type=int, default=50)
    arguments = parser.parse_args()
    if arguments.settle >= arguments.minutes:
        parser.error(f"--settle {arguments.settle:g} leaves nothing of --minutes {arguments.minutes:g} to measure")
    facts: dict[str, object] = {"machine": machine(), "command": " ".join(sys.argv[1:])}
    with everybody_let_in(), settings(CACHES), tempfile.TemporaryDirectory() as folder:
        clips = Path(folder, "clips")
        clips.mkdir()
        with LocalStack(arguments.checkpoint, Path(folder, "stack"), 0, 0) as started:
            load = Load(arguments, started.state.http, started.state.supervisor_pid, clips)
            found, samples = soak(arguments, load, started.state)
    facts |= found
    show(facts)
    failures = missed(facts)
    print("\n".join(failures) or "all aims are met")
    if arguments.json:
        write_json(arguments.json, facts)
    if arguments.figure:
        draw(samples, 60 * arguments.settle, arguments.figure)
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
