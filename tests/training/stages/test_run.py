"""A stage in this process: what it writes, and that it is not trained twice."""

from __future__ import annotations

import json

import pytest

from parley.checkpoints import Checkpoint
from training.recipe import find_stage
from training.stages.run import run_stage


def test_a_stage_writes_its_checkpoint_metrics_and_curves(tmp_path):
    run_stage("0.1", tmp_path, "nano", steps=1)
    manifest = Checkpoint.open(tmp_path / "0.1").manifest
    assert set(manifest.parts) == {"language"} and manifest.tokenizer is not None
    assert sum(manifest.data["samples"].values()) == find_stage("0.1").nano.batch
    assert manifest.metrics["steps"] == 1 and manifest.metrics["seconds"] > 0
    work = tmp_path / "work" / "0.1"
    assert json.loads((work / "metrics.jsonl").read_text().splitlines()[0])["step"] == 1
    assert (work / "curves.png").exists() and not (work / "resume.safetensors").exists()


def test_a_stage_that_is_done_is_not_trained_again(tmp_path):
    """Later stages name its files by their hashes: other weights in their place would break every one of them."""
    (tmp_path / "0.2").mkdir()
    (tmp_path / "0.2" / "manifest.json").write_text("{}")
    with pytest.raises(ValueError, match=r"stage 0\.2 is done in .*; train it again with another --run"):
        run_stage("0.2", tmp_path, "nano", resume=True)


def test_a_stage_that_was_begun_needs_resume(tmp_path):
    (tmp_path / "work" / "0.2").mkdir(parents=True)
    (tmp_path / "work" / "0.2" / "resume.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match=r"stage 0\.2 was begun in .*; --resume continues it"):
        run_stage("0.2", tmp_path, "nano")
