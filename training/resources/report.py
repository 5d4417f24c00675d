"""The plan of a training as text, for a terminal of 120 columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from training.resources.amount import Amount
from training.resources.estimate import GB, Cluster, Estimate, Planner

COLUMNS = ("stage", "trained", "state", "frozen", "gathered", "kept", "logits", "other", "GPU", "", "saved", "written")
SPEED = ("GFLOP", "tokens/s", "days")


def heading(planner: Planner, cluster: Cluster, amount: Amount, data: Path | None = None) -> str:
    """What is planned: the model's parameters by part, the GPUs, and the amount of data, or where it is."""
    sizes = planner.sizes
    total = sum(size.parameters for size in sizes.values())
    by_part = "".join(
        f"  {part.replace('_', ' '):16}{_millions(size.parameters):>11}\n" for part, size in sizes.items()
    )
    speed = f"{cluster.utilisation:.0%} of {cluster.peak:g} TFLOP/s"
    if cluster.measured is not None:
        speed = f"{cluster.measured:g} tokens a second each, as measured"
    hours = "the paper's hours" if amount.hours is None else f"{amount.hours:,g} hours"
    dialogues = f"{amount.samples:,.0f} dialogues" if data is None else f"the dialogues of {data},"
    return (
        f"{planner.config.name}: {_millions(total)} parameters\n{by_part}\n"
        f"{cluster.gpus} × {cluster.gpu_memory:g} GB, {speed}; {dialogues} of "
        f"{amount.sample_tokens:,g} tokens, {hours} of speech\n"
    )


def table(estimates: Sequence[Estimate], cluster: Cluster) -> str:
    """A line for each stage. Sizes are GB: of each GPU up to "GPU", on the disk "saved" (one state) and "written"."""
    rows = [[*COLUMNS, *SPEED], *(_row(estimate, cluster) for estimate in estimates)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _row(estimate: Estimate, cluster: Cluster) -> list[str]:
    memory, disk = estimate.memory, estimate.disk
    used = (memory.state, memory.frozen, memory.gathered, memory.activations, memory.logits, memory.reserve)
    return [
        estimate.stage.name, _millions(estimate.trained), *(f"{size / GB:.1f}" for size in used),
        f"{memory.total / GB:.1f}", "fits" if estimate.fits(cluster) else "TOO LARGE",
        f"{disk.saved_state / GB:.1f}", f"{disk.checkpoint / GB:.1f}", *_speed(estimate),
    ]  # fmt: skip


def _speed(estimate: Estimate) -> list[str]:
    if estimate.operations is None:
        return ["", "", ""]
    return [f"{estimate.operations / 1e9:.1f}", f"{estimate.tokens_a_second:,.0f}", f"{estimate.days:.2g}"]


def _millions(count: int) -> str:
    return f"{count / 1e6:,.2f} M"
