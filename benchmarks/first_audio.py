"""What a user feels: the time from the last sound of a spoken question to the first sound of its answer.

    python -m benchmarks.first_audio [--checkpoint DIR] [--sessions 1 4 8] [--turns 24] [--only services] [--json FILE]
    python -m benchmarks.first_audio --open-loop [--seconds 45]

Users talk about pictures in dialogues of six questions, in voices that training has not heard, in real time over an
open microphone with a faint noise (chunks of 40 ms). Of six questions three are said in one go, two with a pause of 0.2
to 0.8 s inside, and one trails off (see manners.py). All count from the last voiced sample, found in the clean
recording before noise was added, to the first audio at the client, which is a process of its own. Who says where a
question ends:
- `hands-free`: the server, by what was said;
- `fixed-wait`: the server, after 0.55 s of silence whatever was said; the same clips, for comparison;
- `manual`: the user, who lets a key go with the last sound.

In one run, with the same weights and the same questions:
- `services`: the whole stack, started here (or `--address`), over gRPC;
- `one process`: the same turns without services (see one_process.py), with its users in the same process; the
  difference is what the services cost;
- `published`: wait for silence, then encode, the whole answer first, then speech, one request at a time (see
  published_order.py); to the first clause, the earliest that this order allows, and to the whole.

`cut`: questions that were taken for complete, or answered, before the user was done; they are in no other figure.
`discarded`: answers begun and thrown away, as the gateway counts them. `underruns`: answers in which a player that
starts with 100 ms of audio ran out of it. CPU is that of the whole stack while the questions were asked, pauses
included, divided by the questions.

With `--open-loop` questions come by chance at a given rate, whoever is still waiting; the program finds the rate at
which the p95 breaks a second.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks.first_audio_level import COLUMNS, MANNER_COLUMNS, USE_COLUMNS, Level
from benchmarks.first_audio_open_loop import RATE_COLUMNS, find_rate
from benchmarks.first_audio_orders import ORDERS
from benchmarks.first_audio_talk import HANDS_FREE, MANUAL, TURNS
from benchmarks.first_audio_users import Dialogues
from benchmarks.manners import KINDS
from benchmarks.measuring import machine, table, write_json
from benchmarks.workload import VOICES


def compare(rows: list[dict]) -> dict[str, float]:
    """What the aims are about, at the smallest number of sessions: nothing for what was left out."""
    fewest, ratios = min(row["sessions"] for row in rows), {}
    for turns in (HANDS_FREE, MANUAL):
        by_order = {row["order"]: row for row in rows if row["sessions"] == fewest and row["turns"] == turns}
        if "services" in by_order and "one process" in by_order:
            for share in ("first_audio_p50", "first_audio_p95"):
                cost = by_order["services"][share] - by_order["one process"][share]
                ratios[f"{turns}: services cost, {share}"] = round(cost, 1)
        for order in ("published, first clause", "published, whole"):
            if "services" in by_order and order in by_order:
                sooner = by_order[order]["first_audio_p50"] / by_order["services"]["first_audio_p50"]
                ratios[f"{turns}: times sooner than {order}"] = round(sooner, 2)
    return ratios


def measure(arguments: argparse.Namespace, dialogues: Dialogues, facts: dict) -> None:
    levels: list[Level] = []
    for order in arguments.only:
        levels += ORDERS[order](arguments, dialogues, facts)
    facts["rows"] = [level.row() for level in levels]
    facts["use"] = [level.use() for level in levels if level.order == "services" and level.cpu]
    facts["manners"] = [
        row
        for level in levels
        if level.turns != MANUAL and not level.order.startswith("published")
        for row in level.manners()
    ]
    facts["ratios"] = compare(facts["rows"])
    facts["questions"] = [each | {"sessions": level.sessions} for level in levels for each in level.questions]


def show(facts: dict) -> None:
    tables = {"rows": COLUMNS, "use": USE_COLUMNS, "manners": MANNER_COLUMNS, "rates": RATE_COLUMNS}
    for name, columns in tables.items():
        if facts.get(name):
            print(table(facts[name], columns), end="\n\n")
    print("milliseconds; parts are medians; the second table: CPU milliseconds a question, by process")
    print(", ".join(f"{name} {value}" for name, value in facts["machine"].items()))
    for name in ("startup_s", "memory_mb", "ratios", "rate"):
        if name in facts:
            print(f"{name}: {facts[name]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/nano"))
    parser.add_argument("--sessions", nargs="+", type=int, default=[1, 4, 8], help="users at once, in turn")
    parser.add_argument("--turns", type=int, default=24, help="questions of each user")
    parser.add_argument("--max-tokens", type=int, default=64, help="of an answer")
    parser.add_argument("--address", help="host:port of a gateway that runs already, with the same checkpoint")
    parser.add_argument("--only", nargs="+", choices=ORDERS, default=list(ORDERS), help="leave the others out")
    parser.add_argument(
        "--detection", nargs="+", choices=TURNS, default=[HANDS_FREE, MANUAL], help="who says where questions end"
    )
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, help="how questions are said")
    parser.add_argument("--voices", choices=VOICES, default="espeak", help="natural: they need the extra `voices`")
    parser.add_argument("--open-loop", action="store_true", help="find the rate of questions at which p95 breaks 1 s")
    parser.add_argument("--rate", type=float, default=0.5, help="the first that is tried, questions a second")
    parser.add_argument("--seconds", type=float, default=45.0, help="of each rate, and at least about 20 questions")
    parser.add_argument("--steps", type=int, default=6, help="rates that are tried")
    parser.add_argument("--json", type=Path, help="write the figures here too, and every question")
    arguments = parser.parse_args()
    facts: dict[str, object] = {"machine": machine()}
    with tempfile.TemporaryDirectory() as folder:
        dialogues = Dialogues(Path(folder), arguments.kinds, arguments.voices)
        (find_rate if arguments.open_loop else measure)(arguments, dialogues, facts)
    show(facts)
    if arguments.json:
        write_json(arguments.json, facts)


if __name__ == "__main__":
    main()
