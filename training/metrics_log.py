"""The metrics of a stage while it trains: one JSON object a line, with the step."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

METRICS_FILE = "metrics.jsonl"


class MetricsLog:
    """Appends metrics to the file of a stage and passes them to a callback.

    Args:
        folder: of the stage's work files.
        on_metrics: called with (step, metrics).
        keep: whether earlier lines are kept, as for a resumed stage.
    """

    def __init__(self, folder: Path, on_metrics: Callable[[int, dict], None], keep: bool) -> None:
        self.on_metrics = on_metrics
        self.file = (folder / METRICS_FILE).open("a" if keep else "w")

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(self, *_) -> None:
        self.file.close()

    def write(self, step: int, metrics: dict[str, float]) -> None:
        rounded = {name: round(float(value), 5) for name, value in metrics.items()}
        self.file.write(json.dumps({"step": step, **rounded}) + "\n")
        self.file.flush()
        self.on_metrics(step, metrics)


def drop_later_metrics(folder: Path, step: int) -> None:
    """Removes the metrics of steps after `step`, which will be done again."""
    path = folder / METRICS_FILE
    if path.exists():
        lines = [line for line in path.read_text().splitlines() if _step_of(line) <= step]
        temporary = path.with_suffix(".part")
        temporary.write_text("".join(line + "\n" for line in lines))
        temporary.replace(path)


def _step_of(line: str) -> float:
    """The step of a line; infinite for a last line that a kill cut short."""
    try:
        return json.loads(line)["step"]
    except json.JSONDecodeError:
        return math.inf
