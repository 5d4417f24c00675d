"""The curves of a stage as one picture: its losses and its validation over the steps."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path


def draw_curves(metrics: Path, picture: Path, title: str) -> None:
    """Reads a stage's `metrics.jsonl` and draws a PNG: training on the left, held-out data on the right."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    training, held_out = defaultdict(list), defaultdict(list)
    for line in metrics.read_text().splitlines():
        record = json.loads(line)
        step = record.pop("step")
        for name, value in record.items():
            if name.startswith("valid/"):
                held_out[name.removeprefix("valid/")].append((step, value))
            elif name not in ("lr", "gradient_norm", "tokens"):
                training[name].append((step, value))
    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4), dpi=90, layout="constrained")
    for axis, curves, what in zip(axes, (training, held_out), ("training", "held-out"), strict=True):
        for name, points in sorted(curves.items()):
            faint = name == "loss"
            axis.plot(
                *zip(*points, strict=True), label=name, linewidth=0.6 if faint else 1.4, alpha=0.4 if faint else 1
            )
        axis.set(title=f"{title}: {what}", xlabel="step")
        axis.grid(alpha=0.3)
        if curves:
            axis.legend(fontsize=7, ncols=2)
    figure.savefig(picture)
    pyplot.close(figure)
