"""The picture of the load benchmark: latency, real time and memory by sessions, and what an overload does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

BIN_SECONDS = 5.0
LARGEST = 6  # processes that are drawn by name


def draw(facts: dict, path: Path) -> None:
    figure, axes = plt.subplots(2, 2, figsize=(9, 6.2), layout="constrained")
    panels: list[Callable[[Axes, dict], None]] = [latency, pace, memory, overload]
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


def overload(axis: Axes, facts: dict) -> None:
    if "overload" not in facts:
        axis.set_axis_off()
        return
    events, asked = facts["overload"]["events"], facts["overload"]["row"]["sessions"]
    began = events[0]["at"]
    changes = [(each["at"] - began, {"open": 1, "closed": -1}.get(each["what"], 0)) for each in events]
    inside, times, counts = 0, [], []
    for at, change in changes:
        inside += change
        times.append(at)
        counts.append(inside)
    axis.step(times, counts, where="post", label="sessions inside")
    refused = binned(events, began, lambda each: each["what"] == "refused")
    underruns = binned(events, began, lambda each: each.get("underruns", 0) > 0)
    axis.plot(*refused, color="tab:orange", label=f"refused in {BIN_SECONDS:g} s")
    axis.plot(*underruns, "x:", color="tab:red", label=f"answers with an underrun in {BIN_SECONDS:g} s")
    axis.axhline(asked, color="grey", linewidth=0.8)
    axis.set(title=f"{asked} sessions asked for", xlabel="seconds")
    axis.set_ylim(0, 1.1 * axis.get_ylim()[1])
    axis.legend(frameon=False, fontsize="small")


def binned(events: list[dict], began: float, of: Callable[[dict], bool]) -> tuple[list[float], list[int]]:
    """(middle of each span of `BIN_SECONDS`, events in it)."""
    spans = int((events[-1]["at"] - began) / BIN_SECONDS) + 1
    counts = [0] * spans
    for each in events:
        counts[int((each["at"] - began) / BIN_SECONDS)] += of(each)
    return [(span + 0.5) * BIN_SECONDS for span in range(spans)], counts
