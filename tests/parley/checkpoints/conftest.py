"""What the tests of checkpoints share: a run of two stages."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from parley.checkpoints import save_stage


@pytest.fixture
def run(tmp_path: Path, tiny_config, tiny_tokenizer) -> Path:
    """Two stages: 1.1 wrote two parts and the tokenizer, 1.2 one of them again."""
    parts = {"vision_adapter": {"w": torch.ones(2, 3)}, "state_head": {"w": torch.arange(4.0)}}
    save_stage(tmp_path / "1.1", stage="1.1", config=tiny_config, parts=parts, tokenizer=tiny_tokenizer, commit="abc")
    save_stage(
        tmp_path / "1.2", stage="1.2", config=tiny_config, parent=tmp_path / "1.1",
        parts={"vision_adapter": {"w": torch.full((2, 3), 2.0)}},
        data={"captions": {"share": 1.0, "count": 7}}, metrics={"loss": 0.5},
    )  # fmt: skip
    return tmp_path
