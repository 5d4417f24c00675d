"""The evaluation of a checkpoint: a run, a checkpoint or nothing may be named."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from parley.checkpoints import save_stage
from training.evaluation.runner import evaluate, find_checkpoint


def test_an_evaluation_leaves_gradients_on(tiny_checkpoint: Path):
    evaluate(tiny_checkpoint, count=1)
    assert torch.is_grad_enabled()


def test_the_score_before_speech_is_measured_if_its_stage_is_there(tiny_checkpoint: Path, tmp_path: Path):
    for name in ("1.3", "2.2"):
        shutil.copytree(tiny_checkpoint, tmp_path / name)
    last = evaluate(tmp_path / "2.2", count=1)[-1]
    assert last["name"] == "vision score lost from stage 1.3 to 2.2" and last["value"] == 0


def test_a_run_is_its_last_stage(tiny_config, tiny_checkpoint, tmp_path):
    for name in ("0.1", "0.2"):
        save_stage(tmp_path / name, stage=name, config=tiny_config, parts={})
    assert find_checkpoint(tmp_path) == tmp_path / "0.2"
    assert find_checkpoint(tiny_checkpoint) == tiny_checkpoint
