"""`report.md` of a run: what was trained, on which data, where, for how long, with which results."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path

from parley.checkpoints import Checkpoint, CheckpointError
from parley.checkpoints.manifest import Manifest
from training.evaluation.table import spread_of
from training.evaluation.vision import AFTER, BEFORE, PUBLISHED, stage_before, vision_scores
from training.recipe import STAGES, Stage, recipe
from training.run_folder import is_done

EVALUATION = "eval.json"  # measures of `training.evaluation.runner`, beside the stages
NOTES = "notes.md"  # remarks of whoever trained it, copied into the report


def write_report(run: Path, path: Path | None = None) -> Path:
    """Writes RUN/report.md, or `path`, from the stages that are done and the evaluation if there is one.

    Returns the path. Curves are linked relative to it.
    """
    done = [stage for stage in STAGES if is_done(run, stage.name)]
    manifests = {stage.name: Checkpoint.open(run / stage.name).manifest for stage in done}
    path = path or run / "report.md"
    path.write_text("\n".join(report_lines(path.parent, run, done, manifests)) + "\n")
    return path


def report_lines(folder: Path, run: Path, stages: list[Stage], manifests: dict[str, Manifest]) -> list[str]:
    if not stages:
        return ["# No stage is done yet"]
    notes = run / NOTES
    return [
        *summary_lines(stages, manifests),
        *evaluation_lines(run / EVALUATION),
        *vision_lines(run, manifests),
        *([*notes.read_text().splitlines(), ""] if notes.exists() else []),
        *stage_lines(run, stages, manifests),
        *data_lines(stages, manifests),
        *curve_lines(folder, stages),
    ]


def summary_lines(stages: list[Stage], manifests: dict[str, Manifest]) -> list[str]:
    first = manifests[stages[0].name]
    total = sum(manifest.metrics.get("seconds", 0.0) for manifest in manifests.values())
    devices = sorted({str(manifest.metrics.get("device", "?")) for manifest in manifests.values()})
    commits = sorted({manifest.commit[:10] for manifest in manifests.values()})
    return [
        f"# How this {first.config.name} was trained",
        "",
        f"- Stages done: {', '.join(stage.name for stage in stages)} of {len(recipe(first.config.name))}.",
        f"- Where: {'; '.join(devices)} a stage, {platform.machine()}.",
        f"- How long: {total / 60:.0f} minutes, summed over stages; some of them ran at the same time.",
        f"- Seed {first.data.get('seed', 0)}, code {', '.join(commits)}.",
        "",
    ]


def stage_lines(run: Path, stages: list[Stage], manifests: dict[str, Manifest]) -> list[str]:
    lines = [
        "## Stages",
        "",
        "| stage | trains | builds on | steps | minutes | held-out figures at its end |",
        "|---|---|---|---|---|---|",
    ]
    for stage in stages:
        metrics = dict(manifests[stage.name].metrics)
        seconds, steps = metrics.pop("seconds", 0.0), metrics.pop("steps", 0)
        figures = ", ".join(f"{name} {value:.3g}" for name, value in metrics.items() if isinstance(value, int | float))
        parents = ", ".join(parents_of(run / stage.name, manifests[stage.name])) or "–"
        lines.append(
            f"| {stage.name} {stage.title} | {', '.join(stage.trains)} | {parents} | {steps} "
            f"| {seconds / 60:.1f} | {figures} |"
        )
    return [*lines, "", "Percent right, or percent of words wrong for `wer_…`; a small probe, not the evaluation.", ""]


def vision_lines(run: Path, manifests: dict[str, Manifest]) -> list[str]:
    """What the model sees before and after the audio stages; nothing if neither was measured."""
    file, after = run / EVALUATION, manifests.get(AFTER)
    before = manifests.get(BEFORE) or (after and stage_before(run / AFTER, after, BEFORE))
    evaluation = json.loads(file.read_text())["rows"] if file.exists() else []
    scores = vision_scores(before, after, evaluation)
    if not scores:
        return []
    lines = ["## Vision before and after speech", "", f"| percent | after {BEFORE} | after {AFTER} | change |"]
    lines.append("|---|---|---|---|")
    for score in (*scores, PUBLISHED):
        both = score.before is not None and score.after is not None
        change = f"{score.after - score.before:+.1f}" if both else "–"
        lines.append(f"| {score.name} | {shown(score.before)} | {shown(score.after)} | {change} |")
    return [*lines, ""]


def shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def parents_of(folder: Path, manifest: Manifest) -> list[str]:
    """The checkpoints that a stage was built from, by their stages; the first with its folder if it is of another run.

    A manifest names the folder of its first parent. What its lineage has beside that parent's came with the others.
    """
    if manifest.parent is None:
        return []
    parent = folder / manifest.parent
    try:
        first = Checkpoint.open(parent).manifest
    except CheckpointError:  # moved or removed since
        return [f"{', '.join(manifest.lineage[:-1])} ({manifest.parent})"]
    others = [name for name in manifest.lineage if name not in (*first.lineage, manifest.stage)]
    of_this_run = os.path.normpath(parent.parent) == os.path.normpath(folder.parent)
    return [first.stage if of_this_run else f"{first.stage} ({manifest.parent})", *others]


def data_lines(stages: list[Stage], manifests: dict[str, Manifest]) -> list[str]:
    lines = ["## Data", "", "| stage | samples | fingerprint |", "|---|---|---|"]
    for stage in stages:
        data = manifests[stage.name].data
        samples = ", ".join(f"{name} {count:,}" for name, count in data.get("samples", {}).items())
        lines.append(f"| {stage.name} | {samples} | {data.get('fingerprint', 'not recorded')} |")
    return [*lines, ""]


def curve_lines(folder: Path, stages: list[Stage]) -> list[str]:
    """Links to the curves of the stages, in a run or in an exported folder."""
    lines = ["## Curves", ""]
    for stage in stages:
        for picture in (Path("work") / stage.name / "curves.png", Path("curves") / f"{stage.name}.png"):
            if (folder / picture).exists():
                lines += [f"![{stage.name} {stage.title}]({picture})", ""]
    return lines


def evaluation_lines(path: Path) -> list[str]:
    """The evaluation as a table; nothing if there is none."""
    if not path.exists():
        return []
    lines = ["## Held-out figures", "", "| measure | value | asked | chance | count | |", "|---|---|---|---|---|---|"]
    for record in json.loads(path.read_text())["rows"]:
        chance = "–" if record.get("chance") is None else f"{record['chance']:.0f}"
        met = "" if record["ok"] is None else "met" if record["ok"] else "missed"
        value = f"{record['value']:.{record.get('digits', 1)}f} {spread_of(record)}".strip()
        lines.append(f"| {record['name']} | {value} | {asked(record)} | {chance} | {record['n']} | {met} |")
    return [*lines, ""]


def asked(record: dict) -> str:
    """The bar, and whether it is a lower or an upper one."""
    if record["bar"] is None:
        return "–"
    at_most = record.get("at_most", (record["value"] >= record["bar"]) != record["ok"])  # older files do not say
    return f"{'≤' if at_most else '≥'} {record['bar']:g}"
