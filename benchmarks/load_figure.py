"""The picture of the load benchmark: latency, real time and memory by sessions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

LARGEST = 6  # processes that are drawn by name


def draw(facts: dict, path: Path) -> None:
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.4), layout="constrained")
    panels: list[Callable[[Axes, dict], None]] = [latency, pace, memory]
    for axis, panel in zip(axes.flat, panels, strict=True):
        panel(axis, facts)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=80)
    plt.close(figure)


def latency(axis: Axes, facts: dict) -> None:
    rows = facts["levels"]
    sessions = [row["sessions"] for row in rows]
    for share, style in (("p50", "o-"), ("p95", "s--")):
        axis.plot(sessions, [row[f"first_audio_{share}"] for row in rows], style, label=share)
    axis.set(title="First audio after the last voiced sample", xlabel="sessions", ylabel="ms", xticks=sessions)
    axis.set_ylim(0, 1.1 * axis.get_ylim()[1])
    axis.legend(frameon=False)


def pace(axis: Axes, facts: dict) -> None:
    rows = facts["levels"]
    sessions = [row["sessions"] for row in rows]
    axis.plot(sessions, [row["real_time_p50"] for row in rows], "o-", label="real-time factor, p50")
    axis.plot(sessions, [row["real_time_p95"] for row in rows], "s--", label="real-time factor, p95")
    axis.plot(sessions, [row["underruns"] for row in rows], "x:", color="tab:red", label="answers with an underrun")
    axis.axhline(1.0, color="grey", linewidth=0.8)
    axis.set(title="Seconds to make a second of audio", xlabel="sessions", xticks=sessions)
    axis.set_ylim(0, 1.1 * axis.get_ylim()[1])
    axis.legend(frameon=False)


def memory(axis: Axes, facts: dict) -> None:
    levels = facts["processes"]
    last = {name: size for name, size in levels[-1]["memory_mb"].items() if name != "total"}
    for name in sorted(last, key=last.get, reverse=True)[:LARGEST]:
        sizes = [level["memory_mb"].get(name, 0.0) for level in levels]
        axis.plot([level["sessions"] for level in levels], sizes, "o-", markersize=3, label=name)
    axis.set(title="Memory (proportional share)", xlabel="sessions", ylabel="MB")
    axis.set_ylim(0, 1.1 * axis.get_ylim()[1])
    if last:
        axis.legend(frameon=False, fontsize="small")
