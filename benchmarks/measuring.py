"""Shared by all benchmarks: percentiles, facts about the machine, a table, a JSON file."""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` (0 … 1) of the values do not exceed; nan for none."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]


def machine() -> dict[str, object]:
    """Facts about the machine and its load."""
    import torch

    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "load_before": round(os.getloadavg()[0], 2),  # above 0: other processes ran too
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


NO_LIMITS = {"LATE_SHARE": "1", "REAL_TIME_FACTOR": "0", "QUEUE_SECONDS": "0", "GROWTH": "0"}
ADMISSION = {f"PARLEY_GATEWAY_ADMISSION_{name}": value for name, value in NO_LIMITS.items()}


@contextlib.contextmanager
def settings(wanted: Mapping[str, str]) -> Iterator[None]:
    """A stack that is started within has these variables in its environment."""
    before = os.environ.copy()
    os.environ |= wanted
    try:
        yield
    finally:
        for name in wanted:
            os.environ.pop(name)
        os.environ |= {name: value for name, value in before.items() if name in wanted}


def everybody_let_in() -> contextlib.AbstractContextManager[None]:
    """A stack that is started within takes all who come, however late its answers: what is asked for is measured."""
    return settings(ADMISSION)


def table(rows: Sequence[dict[str, object]], columns: Sequence[str]) -> str:
    """Rows as an aligned table that is also valid Markdown."""

    def text(value: object) -> str:
        return (
            f"{value:.3g}"
            if isinstance(value, float) and value < 100
            else f"{value:.0f}"
            if isinstance(value, float)
            else str(value)
        )

    cells = [list(columns), *[[text(row.get(column, "")) for column in columns] for row in rows]]
    widths = [max(len(line[index]) for line in cells) for index in range(len(columns))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def write_json(path: Path, facts: dict[str, object]) -> None:
    path.write_text(json.dumps(facts, indent=1) + "\n")
