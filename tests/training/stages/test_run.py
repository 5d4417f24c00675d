"""A stage in this process: what it writes, and that it is not trained twice."""

from __future__ import annotations

import json

import pytest
import torch

from parley.checkpoints import Checkpoint
from training.launch.local import train_stage
from training.launch.stage_job import StageJob
from training.options import Options
from training.run_folder import IDENTITY_FILE
from training.stages import run as run_module
from training.stages.build import build_stage
from training.stages.run import train_and_save


def test_a_stage_writes_its_checkpoint_metrics_and_curves(tmp_path):
    built = build_stage("0.1", tmp_path, "nano", 0, Options(steps=2, batch=3, save_every=1))
    reports = []
    train_and_save(built, tmp_path, resume=False, on_metrics=lambda step, metrics: reports.append((step, metrics)))
    checkpoint = Checkpoint.open(tmp_path / "0.1")
    manifest = checkpoint.manifest
    assert set(manifest.parts) == {"language"} and manifest.tokenizer is not None
    assert sum(manifest.data["samples"].values()) == 6 and manifest.data["seed"] == 0
    assert manifest.data["fingerprint"] == built.identity["data"]
    assert manifest.metrics["steps"] == 2 and manifest.metrics["seconds"] > 0
    weights, trained = checkpoint.state_dict("language", dtype=torch.float32), built.objective.model.language
    for name, tensor in trained.state_dict().items():
        assert name == "lm_head.weight" or torch.equal(weights[name], tensor), name

    work = tmp_path / "work" / "0.1"
    lines = [json.loads(line) for line in (work / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [step for step, _ in reports] == [2, 2]
    assert {"loss", "lr", "tokens", "useful", "gradient_norm"} <= lines[0].keys()
    assert any(name.startswith("valid/") for name in lines[1])
    assert (work / "curves.png").exists() and (tmp_path / "tensorboard" / "0.1").exists()
    assert not list(work.glob("step-*")) and not (work / IDENTITY_FILE).exists()


def test_a_stage_killed_before_its_checkpoint_is_whole_keeps_its_states(tmp_path, monkeypatch):
    options = Options(steps=2, batch=2, save_every=1)

    def die(*_) -> None:
        raise MemoryError

    monkeypatch.setattr(run_module, "save_checkpoint", die)
    with pytest.raises(MemoryError):
        train_and_save(build_stage("0.1", tmp_path, "nano", 0, options), tmp_path, resume=False)
    monkeypatch.undo()
    steps = []
    built = build_stage("0.1", tmp_path, "nano", 0, options)
    train_and_save(built, tmp_path, resume=True, on_metrics=lambda step, metrics: steps.append(step))
    assert steps == [2, 2]  # the last step again, and a validation
    assert Checkpoint.open(tmp_path / "0.1").manifest.metrics["steps"] == 2


def test_a_stage_that_is_done_is_not_trained_again(tmp_path):
    """Later stages name its files by their hashes: other weights in their place would break every one of them."""
    (tmp_path / "0.2").mkdir()
    (tmp_path / "0.2" / "manifest.json").write_text("{}")
    with pytest.raises(ValueError, match=r"stage 0\.2 is done in .*; train it again with another --run"):
        train_stage(StageJob(stage="0.2", run=tmp_path), resume=True)


def test_a_stage_that_was_begun_needs_resume(tmp_path):
    state = tmp_path / "work" / "0.2" / "step-00000010"
    state.mkdir(parents=True)
    (state / ".metadata").write_bytes(b"")
    with pytest.raises(ValueError, match=r"stage 0\.2 was begun in .*; --resume continues it"):
        train_stage(StageJob(stage="0.2", run=tmp_path), resume=False)
