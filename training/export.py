"""`python -m training.export RUN OUT`: a finished run as one folder to hand on, with its evaluation, report and curves.

Half precision, everything in one folder, nothing that the run alone needs.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from parley.checkpoints import export
from parley.checkpoints.manifest import MANIFEST
from training.evaluation.report import EVALUATION, write_report
from training.evaluation.runner import BEFORE_SPEECH, evaluate, picture_score, table
from training.launch.local import is_done, last_stage, work_folder
from training.recipe import recipe


def ship(run: Path, out: Path, count: int = 100) -> list[dict]:
    """Exports the run's last stage to `out`, measures what was exported, and writes it all down beside it.

    What is measured is what is shipped: the weights in half precision. Returns the rows of the evaluation.
    """
    manifest = export(last_stage(run), out)
    before = {BEFORE_SPEECH: picture_score(run / "1.3", count)} if is_done(run, "1.3") else {}
    told = manifest.model_copy(update={"metrics": manifest.metrics | before})
    part = (out / MANIFEST).with_suffix(".part")
    part.write_text(told.model_dump_json(indent=1) + "\n", encoding="utf-8")
    part.replace(out / MANIFEST)
    rows = evaluate(out, count)
    text = json.dumps({"rows": rows}, indent=1) + "\n"
    for folder in (run, out):
        (folder / EVALUATION).write_text(text)
    (out / "curves").mkdir(exist_ok=True)
    for row in recipe(manifest.config.name):
        curves = work_folder(run, row.name) / "curves.png"
        if curves.exists():
            shutil.copyfile(curves, out / "curves" / f"{row.name}.png")
    write_report(run, out / "report.md")
    return rows


if __name__ == "__main__":
    print(table(ship(Path(sys.argv[1]), Path(sys.argv[2]))))
