"""An exported run: half precision, with its evaluation, report and curves in one folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch

from parley.checkpoints import Checkpoint
from training import export
from training.evaluation.report import EVALUATION
from training.evaluation.runner import BEFORE_SPEECH
from training.evaluation.table import Measure


def test_a_run_is_exported_with_what_was_measured(tiny_checkpoint: Path, tmp_path: Path, monkeypatch):
    run, out = tmp_path / "run", tmp_path / "out"
    for name in ("1.3", "3.2"):
        shutil.copytree(tiny_checkpoint, run / name)
    (run / "work" / "3.2").mkdir(parents=True)
    (run / "work" / "3.2" / "curves.png").write_bytes(b"curves")
    evaluated = []
    records = [Measure("video", 91.0, 200, 90.0, chance=25.0).record()]

    def evaluate(folder: Path, count: int, file: Path) -> dict:
        evaluated.append((folder, count))
        file.write_text(json.dumps({"rows": records}))
        return {"rows": records}

    monkeypatch.setattr(export, "evaluate", evaluate)
    monkeypatch.setattr(export, "picture_scores", lambda folder, count: {2026: 50.0})
    assert export.export_run(run, out, count=3) == {"rows": records}
    assert evaluated == [(out, 3)]  # the exported weights are evaluated, not those of the run
    assert Checkpoint.open(out).manifest.metrics[BEFORE_SPEECH] == {"2026": 50.0}
    assert Checkpoint.open(out).tensor("language", "model.norm.weight").dtype == torch.float16
    for folder in (run, out):
        assert json.loads((folder / EVALUATION).read_text()) == {"rows": records}
    assert (out / "curves" / "3.2.png").read_bytes() == b"curves"
    assert "video | 91.0" in (out / "report.md").read_text()
