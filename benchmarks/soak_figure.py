"""The picture of the soak benchmark: memory and descriptors of the largest processes, over time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from benchmarks.process_samples import Sample

LARGEST = 8  # processes that are drawn


def draw(samples: Sequence[Sample], settle: float, path: Path) -> None:
    """`settle`: seconds after which nothing may grow."""
    minutes = [(each.at - samples[0].at) / 60 for each in samples]
    figure, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for axis, what, unit in zip(axes, ("memory", "descriptors"), ("MB", ""), strict=True):
        last = getattr(samples[-1], what)
        for name in sorted(last, key=last.get, reverse=True)[:LARGEST]:
            axis.plot(minutes, [getattr(each, what).get(name) for each in samples], label=name)
        axis.axvline(settle / 60, color="grey", linewidth=0.8)
        axis.set(title=what.capitalize(), xlabel="minutes", ylabel=unit)
        axis.set_ylim(0, 1.1 * axis.get_ylim()[1])
        axis.legend(frameon=False, fontsize="x-small")
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=80)
    plt.close(figure)
