"""Each engine alone, without network or Serve: its throughput for several batch sizes.

    python -m benchmarks.engines [--engine llm_core …] [--checkpoint DIR] [--batch 1 2 4 8 16] [--json FILE]

The section of an engine is a function `measure(checkpoint: Path, sizes: list[int]) -> list[Result]` in its own module.
Everything is warmed up before it is timed. Baselines do the same work with the same weights in the same run.
"""

from __future__ import annotations

import argparse
import importlib
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.measuring import machine, table, write_json

SECTIONS = {
    "llm_core": "benchmarks.engine_llm",
    "speech_decoder": "benchmarks.engine_speech_decoder",
    "speech_encoder": "benchmarks.engine_speech_encoder",
    "vision_encoder": "benchmarks.engine_vision_encoder",
}
COLUMNS = ("engine", "batch", "rate", "unit", "p50_ms", "p95_ms", "of", "count", "note")


@dataclass(frozen=True)
class Result:
    """One line of the table."""

    engine: str  # or a baseline
    batch: int  # requests served at once
    rate: float  # units a second, over the whole batch
    unit: str  # "tokens/s", "pictures/s", "s of speech/s"
    p50_ms: float
    p95_ms: float
    of: str  # what the percentiles measure
    count: int  # measurements
    note: str = ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/nano"))
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 2, 4, 8, 16])
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    arguments = parser.parse_args()
    facts = machine()
    results: list[Result] = []
    for engine in arguments.engine:
        results += importlib.import_module(SECTIONS[engine]).measure(arguments.checkpoint, arguments.batch)
    lines = [asdict(result) for result in results]
    print(table(lines, COLUMNS))
    print(", ".join(f"{name} {value}" for name, value in facts.items()))
    if arguments.json:
        write_json(arguments.json, {"machine": facts, "checkpoint": str(arguments.checkpoint), "results": lines})


if __name__ == "__main__":
    main()
