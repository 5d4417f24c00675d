"""Building a stage of the recipe: parts from the stages it builds on, and what is refused."""

from __future__ import annotations

import pytest
import torch

from parley.checkpoints import Checkpoint, load_model, save_stage
from parley.models.parley import Parley
from training.recipe import Schedule, Stage, find_stage
from training.stages.build import build_model, build_stage, limited


def test_parts_come_from_the_stage_that_trained_them_last(tmp_path, tiny_config, tiny_tokenizer):
    first = Parley(tiny_config, ("language",))
    save_stage(
        tmp_path / "0.1", stage="0.1", config=tiny_config, tokenizer=tiny_tokenizer,
        parts={"language": first.language.state_dict()},
    )  # fmt: skip
    second = Parley(tiny_config, ("vision_encoder",))
    save_stage(
        tmp_path / "0.2", stage="0.2", config=tiny_config, parts={"vision_encoder": second.vision_encoder.state_dict()}
    )
    parents = [Checkpoint.open(tmp_path / name) for name in ("0.1", "0.2")]
    model = build_model(find_stage("1.1"), tiny_config, parents, 0)
    for part, source in (("language", first), ("vision_encoder", second)):
        for name, tensor in getattr(source, part).state_dict().items():
            assert torch.equal(getattr(model, part).state_dict()[name], tensor)
    save_stage(
        tmp_path / "1.1", stage="1.1", config=tiny_config, parent=tmp_path / "0.1", others=[tmp_path / "0.2"],
        parts={"vision_adapter": model.vision_adapter.state_dict()},
    )  # fmt: skip
    manifest = Checkpoint.open(tmp_path / "1.1").manifest
    assert {name: ref.stage for name, ref in manifest.parts.items()} == {
        "vision_encoder": "0.2", "vision_adapter": "1.1", "language": "0.1",
    }  # fmt: skip
    assert manifest.lineage == ["0.1", "0.2", "1.1"]
    assert load_model(tmp_path / "1.1").tokenizer is not None


def test_a_part_that_is_only_read_must_have_been_trained(tiny_config):
    stage = Stage(
        name="9", title="", trains=("vision_adapter",), reads=("language",), objective="next_token", nano=None
    )
    with pytest.raises(ValueError, match="stage 9 reads language, which none of its parents has"):
        build_model(stage, tiny_config, [], 0)


def test_a_stage_without_its_parents_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"stage 1\.1 builds on 0\.1, 0\.2"):
        build_stage("1.1", tmp_path, "nano", seed=0, steps=1)


def test_a_stage_without_a_number_of_steps_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no steps for stage 3\.1, "):
        build_stage("3.1", tmp_path, "vita-7b", seed=0, steps=1)


def test_a_trial_has_fewer_steps_and_never_more():
    schedule = Schedule(lr=1.0, batch=1, steps=100)
    assert limited(schedule, 20).steps == 20
    assert limited(schedule, 200) == limited(schedule, None) == schedule
