"""A stage that cannot fit ends before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from parley.config import preset
from training.lora import LoraOptions
from training.options import Options
from training.recipe import find_stage
from training.resources.check import check_memory, gpu_memory
from training.stages.finetune import build_finetune

GPU = "training.resources.check.gpu_memory"


def test_weights_that_do_not_fit_are_refused_with_what_would(monkeypatch) -> None:
    stage, config = find_stage("1.3"), preset("vita-7b")
    monkeypatch.setattr(GPU, lambda: 80 * 10**9)
    with pytest.raises(ValueError, match=r"stage 1\.3 needs 137\.5 GB of each GPU .* has 80\.0; would fit: 4 GPUs, or"):
        check_memory(stage, stage.full, config, None)
    check_memory(stage, stage.full, config, LoraOptions())
    monkeypatch.setattr(GPU, lambda: 140 * 10**9)
    check_memory(stage, stage.full, config, None)  # the activations may not fit: that depends on the data


def test_training_asks_before_it_loads(monkeypatch, tiny_checkpoint: Path, tmp_path: Path) -> None:
    monkeypatch.setattr(GPU, lambda: 10**4)
    monkeypatch.setattr("training.stages.finetune.build_model", lambda *_: pytest.fail("it was loaded"))
    with pytest.raises(ValueError, match=r"stage 2\.1b needs .* this one has 0\.0"):
        build_finetune("2.1b", tiny_checkpoint, tmp_path, None, 0, Options())


def test_without_a_gpu_nothing_is_refused(monkeypatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert gpu_memory() is None
    stage = find_stage("1.3")
    check_memory(stage, stage.full, preset("vita-7b"), None)
