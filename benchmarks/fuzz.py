"""Sends damaged files and random messages to everything that reads what comes from outside.

    python -m benchmarks.fuzz [--inputs 100000] [--first 0] [--kinds picture video …] [--checkpoint DIR] [--json FILE]

- `picture`, `video`, `sound`: damaged files (fuzz_files.py) to what decodes them in the services and the gateway;
- `call`: random requests (fuzz_messages.py) to the four services; `event`: random events to the gateway;
- `http`, `realtime`: random JSON (fuzz_json.py) to the OpenAI API and its Realtime API.

An input is made of its number alone: `--first NUMBER --inputs 1 --kinds KIND` makes it again. A worker process takes
them one after the other; where it dies or takes more than 40 s, that is counted, and another goes on behind that input.
With each 100th message a plain question must be answered. What the worker logs is in PARLEY_LOG_DIR, if that is set.

- `read`: taken for good; `refused`: in words, with a status for callers' mistakes; `wrong`: anything else, such as
  another exception, INTERNAL, UNKNOWN, or an unanswered question; `died`, `hung`: of the worker;
- `slowest`: seconds; `mb`: the worker's largest memory (of its last life).
Exits with 1 where any is wrong, died or hung.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from benchmarks.measuring import machine, percentile, table, write_json
from services.telemetry import logs

FILES, MESSAGES = ("picture", "video", "sound"), ("call", "event", "http", "realtime")
KINDS = (*FILES, *MESSAGES)
MAX_PIXELS = 1_000_000
MAX_SECONDS = 60.0  # of a sound
START_SECONDS, HUNG_SECONDS = 900.0, 40.0
ASK_EVERY = 100
COLUMNS = ("kind", "inputs", "read", "refused", "wrong", "died", "hung", "p50_ms", "slowest", "mb")


@dataclass
class Found:
    """Of one kind of input."""

    verdicts: Counter = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    mb: float = 0.0


def verdict_of_file(kind: str, data: bytes) -> tuple[str, str]:
    """→ read, refused or wrong, and the exception."""
    from services.rpc.errors import ServiceError

    try:
        for reader in _readers(kind):
            reader(data)
    except (ValueError, ServiceError) as error:
        return "refused", str(error)
    except Exception as error:
        return "wrong", f"{type(error).__name__}: {error}"
    return "read", ""


def _readers(kind: str):
    from parley.config import preset
    from parley.media.audio import read_audio
    from parley.media.image import read_image
    from parley.media.video import read_video
    from services.gateway.media import audio_files
    from services.gateway.media.image_size import image_size

    vision = preset("nano").vision
    return {
        "picture": (image_size, lambda data: read_image(data, MAX_PIXELS)),
        "video": (lambda data: read_video(data, vision, MAX_PIXELS),),
        "sound": (
            lambda data: audio_files.read_audio(data, 16_000, MAX_SECONDS),
            lambda data: read_audio(data, 16_000, max_seconds=MAX_SECONDS),
        ),
    }[kind]


def verdict_of_statuses(statuses: list[tuple[str, str]]) -> tuple[str, str]:
    """Of calls and conversations: the worst status decides."""
    from benchmarks.fuzz_stack import REFUSALS

    wrong = [f"{code}: {says}" for code, says in statuses if code not in ("OK", *REFUSALS)]
    if wrong:
        return "wrong", wrong[0]
    return ("read" if all(code == "OK" for code, _ in statuses) else "refused"), ""


class Target:
    """What takes the inputs. The stack is started where a kind needs it."""

    def __init__(self, kinds: list[str], checkpoint: Path):
        self._stack, self._messages = None, 0
        if set(kinds) & set(MESSAGES):
            from benchmarks.fuzz_stack import Stack

            self._stack = Stack(checkpoint)

    def take(self, kind: str, number: int) -> tuple[str, str]:
        """→ verdict and what was said. Raises nothing."""
        random = Random(f"{kind} {number}")
        try:
            if kind in FILES:
                from benchmarks.fuzz_files import damaged

                return verdict_of_file(kind, damaged(kind, random))
            return self._take_message(kind, random)
        except Exception as error:  # also a call that takes too long
            return "wrong", f"{type(error).__name__}: {error}"

    def _take_message(self, kind: str, random: Random) -> tuple[str, str]:
        from benchmarks.fuzz_stack import REQUESTS

        match kind:
            case "call":
                statuses = [self._stack.call(random.choice(list(REQUESTS)), random)]
            case "http":
                statuses = [self._stack.post(random)]
            case "realtime":
                statuses = self._stack.talk(random)
            case _:
                statuses = self._stack.converse(random)
        self._messages += 1
        if self._messages % ASK_EVERY == 1 and not self._stack.ask():
            return "wrong", "a plain question is not answered after it"
        return verdict_of_statuses(statuses)

    def close(self) -> None:
        if self._stack is not None:
            self._stack.close()


def work(pipe, inputs: list[tuple[str, int]], kinds: list[str], checkpoint: Path) -> None:
    """In the worker: (kind, number, verdict, what was said, seconds, MB) of each input."""
    logs.configure("fuzz")
    target = Target(kinds, checkpoint)
    pipe.send(None)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libraries tell there what is wrong with each file
    for kind, number in inputs:
        began = time.perf_counter()
        verdict, says = target.take(kind, number)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        pipe.send((kind, number, verdict, says, time.perf_counter() - began, memory))
    target.close()


def results(inputs: list[tuple[str, int]], kinds: list[str], checkpoint: Path) -> Iterator[tuple]:
    """As `work` sends them; `died` or `hung` for an input that ended the worker."""
    context = multiprocessing.get_context("spawn")
    while inputs:
        ours, theirs = context.Pipe(duplex=False)
        worker = context.Process(target=work, args=(theirs, inputs, kinds, checkpoint))
        worker.start()
        theirs.close()
        verdict = "hung"
        try:
            if not ours.poll(START_SECONDS) or ours.recv() is not None:
                raise RuntimeError("the worker did not start")
            while inputs and ours.poll(HUNG_SECONDS):
                result = ours.recv()
                inputs = inputs[1:]
                yield result
        except EOFError:
            verdict = "died"
        if inputs:
            kind, number = inputs[0]
            inputs = inputs[1:]
            worker.kill()
            yield kind, number, verdict, "", 0.0, 0.0
        worker.join()


def measure(inputs: list[tuple[str, int]], kinds: list[str], checkpoint: Path) -> dict[str, Found]:
    """Prints what is wrong as it comes."""
    found = {kind: Found() for kind in kinds}
    for kind, number, verdict, says, seconds, mb in results(inputs, kinds, checkpoint):
        of_kind = found[kind]
        of_kind.verdicts[verdict] += 1
        of_kind.seconds.append(seconds)
        of_kind.mb = max(of_kind.mb, mb)
        if verdict not in ("read", "refused"):
            print(f"{kind} {number} {verdict}: {says[:300]}", flush=True)
    return found


def rows(found: dict[str, Found]) -> list[dict]:
    return [
        {
            "kind": kind,
            "inputs": each.verdicts.total(),
            **{name: each.verdicts[name] for name in ("read", "refused", "wrong", "died", "hung")},
            "p50_ms": round(1000 * percentile(each.seconds, 0.5), 2),
            "slowest": round(max(each.seconds, default=0.0), 2),
            "mb": round(each.mb),
        }
        for kind, each in found.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/nano"))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    kinds = options.kinds
    numbers = range(options.first, options.first + options.inputs)
    inputs = [(kinds[number % len(kinds)], number) for number in numbers]
    found = rows(measure(inputs, kinds, options.checkpoint))
    print(table(found, COLUMNS))
    if options.json:
        write_json(options.json, {"machine": machine(), "rows": found})
    sys.exit(any(row[name] for row in found for name in ("wrong", "died", "hung")))


if __name__ == "__main__":
    main()
