"""The recipe: its stages for each preset, and the parts they train."""

from __future__ import annotations

import pytest

from parley.config import PARTS
from training.recipe import STAGES, column_for, find_stage, recipe, schedule_for


def test_full_size_leaves_out_the_pretraining_stages():
    assert [stage.name for stage in recipe("vita-7b")] == ["1.1", "1.2", "1.3", "2.1a", "2.1b", "2.2", "3.1", "3.2"]
    with pytest.raises(ValueError, match=r"stage 0\.1 \(language pretraining\) belongs to nano only"):
        schedule_for(find_stage("0.1"), "vita-7b")


def test_an_unknown_stage_is_named_with_the_others():
    with pytest.raises(ValueError, match=r"no stage '7'; there are: 0\.1, 0\.2, 1\.1"):
        find_stage("7")


def test_every_part_of_a_model_is_trained_by_some_stage():
    assert {part for stage in STAGES for part in stage.trains} == set(PARTS)


def test_a_stage_builds_on_stages_before_it():
    for number, stage in enumerate(STAGES):
        assert set(stage.after) <= {before.name for before in STAGES[:number]}


def test_every_mixture_of_nano_sums_to_a_hundred():
    for stage in STAGES:
        assert sum(stage.nano.mixture.values()) == pytest.approx(100), stage.name


def test_the_full_column_has_the_published_numbers():
    """Paper 4.1 and the published scripts: 32 GPUs × 8 samples × 2 passes, AdamW as Hugging Face sets it."""
    full = {stage.name: stage.full for stage in STAGES if stage.full is not None}
    assert {name: full[name].lr for name in ("1.1", "1.2", "1.3", "2.2")} == {
        "1.1": 5e-4, "1.2": 2e-5, "1.3": 2e-5, "2.2": 1e-5,
    }  # fmt: skip
    for name in ("1.1", "1.2", "1.3", "2.2"):
        schedule = full[name]
        assert (schedule.batch, schedule.weight_decay, schedule.betas) == (32 * 8 * 2, 0.0, (0.9, 0.999)), name
        assert (schedule.warmup, schedule.epochs, schedule.sequence_length) == (0.03, 1, 6200), name
    assert full["1.1"].shares == {"captions": 0.2} and full["1.3"].shares["captions"] == 0.2
    assert full["2.2"].shares["captions"] == 0.04


@pytest.mark.parametrize(
    ("preset", "lineage", "column"),
    [
        ("nano", [stage.name for stage in STAGES], "nano"),
        ("nano", ["2.1a"], "nano"),
        ("nano", ["initialised"], "full"),  # `parley init nano --llm Qwen2.5-0.5B …`
        ("nano", ["initialised", "1.1"], "full"),
        ("vita-7b", ["initialised"], "full"),
        ("vita-1.5", ["imported"], "full"),
    ],
)
def test_nanos_column_is_for_what_nanos_recipe_made(preset, lineage, column):
    assert column_for(preset, lineage) == column
