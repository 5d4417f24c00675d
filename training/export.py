"""`python -m training.export RUN OUT`: a finished run as one folder to publish, in half precision, with its evaluation,
report and curves.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

from parley.checkpoints import export
from parley.checkpoints.manifest import MANIFEST, Manifest
from training.evaluation.report import EVALUATION, write_report
from training.evaluation.runner import BEFORE_SPEECH, evaluate, picture_scores
from training.evaluation.table import table
from training.recipe import recipe
from training.run_folder import is_done, last_stage, work_folder


def export_run(run: Path, out: Path, count: int = 100) -> dict:
    """Exports the run's last stage to `out`, evaluates the exported weights, and writes evaluation, report and curves
    beside them. Returns the evaluation."""
    manifest = export(last_stage(run), out)
    if is_done(run, "1.3"):
        manifest = with_metrics(manifest, {BEFORE_SPEECH: picture_scores(run / "1.3", count)})
        write_atomically(out / MANIFEST, manifest.model_dump_json(indent=1) + "\n")
    measured = evaluate(out, count, file=out / EVALUATION)
    shutil.copyfile(out / EVALUATION, run / EVALUATION)
    copy_curves(run, out / "curves", manifest.config.name)
    write_report(run, out / "report.md")
    return measured


def with_metrics(manifest: Manifest, more: dict[str, Any]) -> Manifest:
    return manifest.model_copy(update={"metrics": manifest.metrics | more})


def write_atomically(path: Path, text: str) -> None:
    part = path.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def copy_curves(run: Path, folder: Path, preset: str) -> None:
    folder.mkdir(exist_ok=True)
    for stage in recipe(preset):
        curves = work_folder(run, stage.name) / "curves.png"
        if curves.exists():
            shutil.copyfile(curves, folder / f"{stage.name}.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m training.export", description="Export a finished run.")
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("out", type=Path, help="folder to write")
    arguments = parser.parse_args()
    evaluation = export_run(arguments.run, arguments.out)
    print("\n".join([table(evaluation["rows"]), *evaluation["left_out"]]))
