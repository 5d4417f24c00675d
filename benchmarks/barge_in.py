"""Something sounds while an answer plays: what is meant for the model stops the answer, all else does not.

    python -m benchmarks.barge_in [--checkpoint DIR] [--clips 100] [--sessions 4] [--json FILE]

Questions, backchannels, coughs, music and speech to a third person (see interruption_clips.py) are heard by the open
microphone of a hands-free client over gRPC, in real time, 0.3 to 1.2 s after an answer has begun to play. The client
plays as a player does, in a process of its own, and pauses, goes on and stops as the gateway tells it. Of each kind:

- `taken`: the answer was ended. Right for questions only; `right` counts the clips of which the right thing was done.
- `held`: from the first sound to the pause of the player, for those that made it pause; `last audio`: to the last audio
  of the old answer that came, where some came after the first sound; `decided`: to the end of the answer.
- `paused`: how long the player stood still where the answer went on.
- `late`: pieces of an answer that came after it had been ended; `lost`: clips after which samples were missing.

The same in the terms of Full-Duplex-Bench (arXiv 2503.04721, 2507.23159): takeover rate (an answer to the clip was
heard), stop latency (first sound to the silence of the player) and response latency (end of the clip to the first
audio of its answer), means over the clips that were taken.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from statistics import fmean

from benchmarks.interruption_clips import KINDS, clips
from benchmarks.measuring import everybody_let_in, machine, percentile, table, write_json
from services.local.stack import LocalStack

MEANT = ("question",)  # kinds that are to stop the answer
WARM_UP = 2  # clips
CLIP_SECONDS = 15.0  # that a clip may take, its session included
COLUMNS = (
    *("kind", "clips", "taken", "right", "held_p50", "held_p95", "last_audio_p95", "decided_p50", "decided_p95"),
    *("paused_p50", "late", "lost", "failed"),
)
DUPLEX_COLUMNS = ("kind", "takeover_rate", "stop_latency_s", "response_latency_s")


def save_clips(folder: Path, kinds: Sequence[str], each: int, seed: int) -> Path:
    """The kinds take turns."""
    folder.mkdir()
    for number, kind in enumerate(kinds):
        for index, clip in enumerate(islice(clips(kind, seed), each)):
            clip.save(folder / f"{index:04}-{number}.npz")
    return folder


def run_users(address: str, folder: Path, sessions: int) -> list[dict]:
    """What they report, a dictionary a clip."""
    command = [sys.executable, "-m", "benchmarks.barge_in_client", "--address", address]
    command += ["--clips", str(folder), "--sessions", str(sessions)]
    limit = 60 + CLIP_SECONDS * len(list(folder.iterdir())) / sessions
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=limit)
    return [json.loads(line) for line in done.stdout.splitlines()]


def summary(kind: str, heard: Sequence[dict], asked: int) -> dict[str, object]:
    """A row: percent and milliseconds."""
    taken = sum(each["taken"] for each in heard)
    right = taken if kind in MEANT else len(heard) - taken
    values = {name: [each[name] for each in heard if each[name] is not None] for name in ("held", "last_audio")}
    decided = [each["decided"] for each in heard if each["taken"]]
    paused = [each["paused"] for each in heard if not each["taken"]]
    return {
        "kind": kind,
        "clips": len(heard),
        "taken": percent(taken, heard),
        "right": percent(right, heard),
        "held_p50": percentile(values["held"], 0.5),
        "held_p95": percentile(values["held"], 0.95),
        "last_audio_p95": percentile(values["last_audio"], 0.95),
        "decided_p50": percentile(decided, 0.5),
        "decided_p95": percentile(decided, 0.95),
        "paused_p50": percentile(paused, 0.5),
        "late": sum(each["late"] for each in heard),
        "lost": sum(each["lost"] != 0 for each in heard),
        "failed": asked - len(heard),
    }


def duplex_summary(kind: str, heard: Sequence[dict]) -> dict[str, object]:
    """A row in the terms of Full-Duplex-Bench."""
    answered = [each for each in heard if each["taken"] and each["answered"] is not None]
    stops = [each["held"] for each in answered if each["held"] is not None]
    return {
        "kind": kind,
        "takeover_rate": len(answered) / max(1, len(heard)),
        "stop_latency_s": fmean(stops) / 1000 if stops else float("nan"),
        "response_latency_s": fmean(each["answered"] for each in answered) / 1000 if answered else float("nan"),
    }


def percent(count: int, of: Sequence) -> float:
    return 100 * count / max(1, len(of))


def measure(arguments: argparse.Namespace, address: str, folder: Path) -> dict[str, object]:
    run_users(address, save_clips(folder / "warm-up", ["question"], WARM_UP, seed=1), 1)
    reports = run_users(address, save_clips(folder / "clips", arguments.kinds, arguments.clips, 0), arguments.sessions)
    heard = {kind: [each for each in reports if each.get("kind") == kind] for kind in arguments.kinds}
    return {
        "rows": [summary(kind, each, arguments.clips) for kind, each in heard.items()],
        "duplex": [duplex_summary(kind, each) for kind, each in heard.items()],
        "reports": reports,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/nano"))
    parser.add_argument("--clips", type=int, default=100, help="of each kind; 20 for a short run")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--sessions", type=int, default=4, help="users at once")
    parser.add_argument("--address", help="host:port of a gateway that runs already, with the same checkpoint")
    parser.add_argument("--json", type=Path, help="write the figures here too, and every clip")
    arguments = parser.parse_args()
    facts: dict[str, object] = {"machine": machine(), "sessions": arguments.sessions}
    with tempfile.TemporaryDirectory() as folder:
        if arguments.address:
            facts |= measure(arguments, arguments.address, Path(folder))
        else:
            with everybody_let_in(), LocalStack(arguments.checkpoint, Path(folder) / "stack", 0, 0) as stack:
                facts |= measure(arguments, stack.state.gateway, Path(folder))
    print(table(facts["rows"], COLUMNS), table(facts["duplex"], DUPLEX_COLUMNS), sep="\n\n")
    print(f"taken and right in percent, times in milliseconds; {arguments.sessions} users at once")
    print(", ".join(f"{name} {value}" for name, value in facts["machine"].items()))
    if arguments.json:
        write_json(arguments.json, facts)


if __name__ == "__main__":
    main()
