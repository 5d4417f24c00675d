"""How close each engine comes to what the device allows, at the sizes of a real model with random weights.

    python -m benchmarks.roofline [--model vita-7b] [--device cuda:0] [--rows 1 8 32 128] [--part llm …]
        [--json FILE] [--figure FILE]

The limits are measured in the same run: how fast memory is copied, how fast matrices are multiplied. A decode step must
read all weights once, so it takes at least their bytes by that bandwidth, and the products of all rows by that rate.
Random weights are made on the device; nothing is read from disk. vLLM is measured where it is
installed (docs/engines.md).

On one H100 all parts at `vita-7b` are meant to fit eight minutes. `--model nano --device cpu` tries the program itself.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

import structlog
import torch

from benchmarks.measuring import machine, table, write_json
from benchmarks.roofline_limits import Limits, measure_limits
from parley.config import ParleyConfig, preset
from services.engine.device import choose_device

COLUMNS = ("part", "what", "rows", "rate", "unit", "p50_ms", "p95_ms", "limit", "share", "count", "note")


@dataclass(frozen=True)
class Row:
    part: str
    what: str
    rows: int  # requests at once
    rate: float  # in `unit`, over all of them
    unit: str
    p50_ms: float
    p95_ms: float
    count: int  # measurements behind the percentiles
    limit: float = float("nan")  # of the rate
    note: str = ""

    @property
    def share(self) -> float:
        return self.rate / self.limit


@dataclass(frozen=True)
class Setting:
    config: ParleyConfig
    device: torch.device
    dtype: torch.dtype
    rows: tuple[int, ...]
    limits: Limits


def parts() -> dict:
    """Name → `measure(setting) -> list[Row]`. Imported when asked for: each brings its engine."""
    from benchmarks import roofline_llm, roofline_media, roofline_turn

    return {
        "llm": roofline_llm.measure,
        "speech_decoder": roofline_media.measure_speech_decoder,
        "speech_encoder": roofline_media.measure_speech_encoder,
        "vision_encoder": roofline_media.measure_vision_encoder,
        "turn": roofline_turn.measure,
    }


def main() -> None:
    measured = parts()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="vita-7b", help="preset whose sizes are measured")
    parser.add_argument("--device", default="auto", help="cuda:0 or cpu; auto: the GPU if there is one")
    parser.add_argument("--rows", nargs="+", type=int, default=[1, 8, 32, 128], help="requests at once")
    parser.add_argument("--part", nargs="+", choices=measured, default=list(measured))
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    parser.add_argument("--figure", type=Path, help="also draw the shares of the limits into this file")
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    device = torch.device(choose_device(arguments.device, torch.cuda.device_count()))
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    facts = machine()
    limits = measure_limits(device, dtype)
    print(f"limits: {limits}")
    setting = Setting(preset(arguments.model), device, dtype, tuple(arguments.rows), limits)
    rows: list[Row] = []
    for name in arguments.part:
        rows += measured[name](setting)
        print(table([asdict(row) | {"share": row.share} for row in rows if row.part == name], COLUMNS), flush=True)
    lines = [asdict(row) | {"share": row.share} for row in rows]
    print(", ".join(f"{name} {value}" for name, value in facts.items()))
    if arguments.json:
        facts |= {"model": arguments.model, "device": str(device), "dtype": str(dtype)}
        write_json(arguments.json, {"machine": facts, "limits": asdict(limits), "rows": lines})
    if arguments.figure:
        from benchmarks.roofline_figure import draw

        draw(lines, arguments.figure)


if __name__ == "__main__":
    main()
