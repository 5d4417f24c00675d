"""The picture of the overload benchmark: sessions inside, refusals and late answers, over time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

BIN_SECONDS = 5.0


def draw(facts: dict, path: Path) -> None:
    """A panel for each row."""
    count = len(facts["rows"])
    figure, axes = plt.subplots(1, count, figsize=(5 * count, 3.4), layout="constrained", squeeze=False)
    for axis, row, events in zip(axes.flat, facts["rows"], facts["events"], strict=True):
        panel(axis, row, events)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=80)
    plt.close(figure)


def panel(axis: Axes, row: dict, events: list[dict]) -> None:
    began = events[0]["at"]
    times, counts = inside(events)
    axis.step([at - began for at in times], counts, where="post", label="sessions inside")
    refused = binned(events, began, lambda each: each["what"] == "refused")
    late = binned(events, began, lambda each: each["what"] == "turn" and not each["in_time"])
    axis.plot(*refused, color="tab:orange", label=f"refused in {BIN_SECONDS:g} s")
    axis.plot(*late, "x:", color="tab:red", label=f"late answers in {BIN_SECONDS:g} s")
    axis.axhline(row["came"], color="grey", linewidth=0.8)
    axis.set(title=f"{row['came']} come", xlabel="seconds")
    axis.set_ylim(0, 1.1 * axis.get_ylim()[1])
    axis.legend(frameon=False, fontsize="small")


def inside(events: list[dict]) -> tuple[list[float], list[int]]:
    """(times, how many sessions are open from then on)."""
    times, counts, now = [], [], 0
    for each in events:
        now += {"open": 1, "closed": -1}.get(each["what"], 0)
        times.append(each["at"])
        counts.append(now)
    return times, counts


def binned(events: list[dict], began: float, of: Callable[[dict], bool]) -> tuple[list[float], list[int]]:
    """(middle of each span of `BIN_SECONDS`, events in it)."""
    spans = int((events[-1]["at"] - began) / BIN_SECONDS) + 1
    counts = [0] * spans
    for each in events:
        counts[int((each["at"] - began) / BIN_SECONDS)] += of(each)
    return [(span + 0.5) * BIN_SECONDS for span in range(spans)], counts
