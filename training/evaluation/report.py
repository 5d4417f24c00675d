"""`report.md` of a run: what was trained, on what, where, how long, and what came out."""

from __future__ import annotations

import json
import platform
from pathlib import Path

from parley.checkpoints import Checkpoint
from parley.checkpoints.manifest import Manifest
from training.recipe import Stage, recipe

EVALUATION = "eval.json"  # rows of `training.evaluation.runner`, beside the stages
NOTES = "notes.md"  # what whoever trained it has to add


def write_report(run: Path, path: Path | None = None) -> Path:
    """Writes RUN/report.md, or `path`, from the stages that are done and the evaluation if there is one.

    Returns where it is. Curves are linked from where they lie beside it.
    """
    rows = [row for row in recipe("nano") if (run / row.name / "manifest.json").exists()]
    manifests = {row.name: Checkpoint.open(run / row.name).manifest for row in rows}
    path = path or run / "report.md"
    path.write_text("\n".join(report_lines(path.parent, run, rows, manifests)) + "\n")
    return path


def report_lines(beside: Path, run: Path, rows: list[Stage], manifests: dict[str, Manifest]) -> list[str]:
    if not rows:
        return ["# No stage is done yet"]
    total = sum(manifest.metrics.get("seconds", 0.0) for manifest in manifests.values())
    devices = sorted({str(manifest.metrics.get("device", "?")) for manifest in manifests.values()})
    first = manifests[rows[0].name]
    lines = [
        f"# How this {first.config.name} was trained",
        "",
        f"- Stages done: {', '.join(row.name for row in rows)} of {len(recipe(first.config.name))}.",
        f"- Where: {'; '.join(devices)} a stage, {platform.machine()}.",
        f"- How long: {minutes(total)} summed over stages (wall time of each; stages that ran side by side took less).",
        f"- Seed {first.data.get('seed', 0)}, code {', '.join(sorted({m.commit[:10] for m in manifests.values()}))}.",
        "",
        *evaluation_lines(run / EVALUATION),
        *([*(run / NOTES).read_text().splitlines(), ""] if (run / NOTES).exists() else []),
        "## Stages",
        "",
        "| stage | trains | builds on | steps | minutes | held-out figures at its end |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        metrics = dict(manifests[row.name].metrics)
        seconds, steps = metrics.pop("seconds", 0.0), metrics.pop("steps", 0)
        figures = ", ".join(f"{name} {value:.3g}" for name, value in metrics.items() if isinstance(value, int | float))
        lines.append(
            f"| {row.name} {row.title} | {', '.join(row.trains)} | {', '.join(row.after) or '–'} | {steps} "
            f"| {seconds / 60:.1f} | {figures} |"
        )
    lines += ["", "Percent right, or percent of words wrong for `wer_…`; a small probe, not the evaluation.", ""]
    lines += ["## Data", "", "| stage | samples |", "|---|---|"]
    for row in rows:
        samples = ", ".join(f"{name} {count:,}" for name, count in manifests[row.name].data.get("samples", {}).items())
        lines.append(f"| {row.name} | {samples} |")
    lines += ["", "## Curves", ""]
    for row in rows:
        for picture in (Path("work") / row.name / "curves.png", Path("curves") / f"{row.name}.png"):
            if (beside / picture).exists():
                lines += [f"![{row.name} {row.title}]({picture})", ""]
    return lines


def evaluation_lines(path: Path) -> list[str]:
    """The evaluation's rows as a table; nothing if there is no evaluation."""
    if not path.exists():
        return []
    lines = ["## Held-out figures", "", "| measure | value | asked | chance | count | |", "|---|---|---|---|---|---|"]
    for row in json.loads(path.read_text())["rows"]:
        chance = "–" if row.get("chance") is None else f"{row['chance']:.0f}"
        met = "" if row["ok"] is None else "met" if row["ok"] else "missed"
        lines.append(f"| {row['name']} | {row['value']:.1f} | {asked(row)} | {chance} | {row['n']} | {met} |")
    return [*lines, ""]


def asked(row: dict) -> str:
    """The bar, and on which side of it is well."""
    if row["bar"] is None:
        return "–"
    return f"{'≥' if (row['value'] >= row['bar']) == row['ok'] else '≤'} {row['bar']:g}"


def minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes"
