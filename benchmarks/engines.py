"""Each engine alone, without network or Serve: what it makes in a second, against how many it serves at once.

    python -m benchmarks.engines [--engine llm …] [--checkpoint DIR] [--batch 1 2 4 8 16] [--json FILE]

An engine's section is a function `measure(checkpoint: Path, sizes: list[int]) -> list[Result]` in a module of its own.
Everything is warmed up before it is timed; peers do the same work with the same weights in the same run.
"""

from __future__ import annotations

import argparse
import importlib
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.measuring import machine, table, write_json

SECTIONS = {
    "llm": "benchmarks.engine_llm",
    "speech_decoder": "benchmarks.engine_speech_decoder",
    "speech_encoder": "benchmarks.engine_speech_encoder",
    "vision_encoder": "benchmarks.engine_vision_encoder",
}
COLUMNS = ("engine", "batch", "rate", "unit", "p50_ms", "p95_ms", "of", "count", "note")


@dataclass(frozen=True)
class Result:
    """One row of the table."""

    engine: str  # or a peer
    batch: int  # served at once
    rate: float  # units a second, over all that are served
    unit: str  # "tokens/s", "pictures/s", "s of speech/s"
    p50_ms: float
    p95_ms: float
    of: str  # what the percentiles are of
    count: int  # how many of these
    note: str = ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/nano"))
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 2, 4, 8, 16])
    parser.add_argument("--json", type=Path, help="write the figures here too")
    asked = parser.parse_args()
    facts = machine()
    results: list[Result] = []
    for engine in asked.engine:
        results += importlib.import_module(SECTIONS[engine]).measure(asked.checkpoint, asked.batch)
    rows = [asdict(result) for result in results]
    print(table(rows, COLUMNS))
    print(", ".join(f"{name} {value}" for name, value in facts.items()))
    if asked.json:
        write_json(asked.json, {"machine": facts, "checkpoint": str(asked.checkpoint), "results": rows})


if __name__ == "__main__":
    main()
