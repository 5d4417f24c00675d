"""The picture of the roofline benchmark: what share of the device's limit each engine reaches."""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def draw(rows: list[dict], path: Path) -> None:
    """Rows with a limit alone."""
    limited = [row for row in rows if not math.isnan(row["limit"])]
    figure, axis = plt.subplots(figsize=(6, 3.6), layout="constrained")
    for part, what in dict.fromkeys((row["part"], row["what"]) for row in limited):
        own = [row for row in limited if (row["part"], row["what"]) == (part, what)]
        axis.plot([row["rows"] for row in own], [100 * row["share"] for row in own], "o-", label=f"{part}: {what}")
    axis.set(xlabel="requests at once", ylabel="% of the limit", xscale="log", ylim=(0, 105))
    axis.set_xticks([row["rows"] for row in limited], [str(row["rows"]) for row in limited])
    axis.minorticks_off()
    axis.legend(frameon=False, fontsize="small")
    axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=80)
    plt.close(figure)
