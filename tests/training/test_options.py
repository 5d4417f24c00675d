"""What a user may set: what is not set is the recipe's, and rates keep their proportions."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import ValidationError

from training.lora_options import LoraOptions
from training.options import Options
from training.recipe import STAGES, Schedule, find_stage

SCHEDULE = Schedule(lr=2e-3, muon=4e-3, lr_of={"vision_encoder": 1e-4, "speech_prompt": 2e-3}, batch=8, steps=100)


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_without_options_the_schedule_is_the_recipes(stage):
    for schedule in filter(None, (stage.nano, stage.full)):
        assert Options().schedule(schedule) == schedule


def test_each_setting_changes_its_own_field_alone():
    values = {"steps": 3, "batch": 5, "tokens": 4096, "sequence_length": 77, "save_every": 9, "validate_every": 11}
    for name, value in values.items():
        assert Options(**{name: value}).schedule(SCHEDULE) == replace(SCHEDULE, **{name: value})
    assert Options(**values).schedule(SCHEDULE) == replace(SCHEDULE, **values)


def test_steps_are_exact():
    """More than the recipe has, too: `--steps` was a limit, and less than a pass over the data did one step."""
    for steps in (1, 100, 5000):
        assert Options(steps=steps).schedule(SCHEDULE).steps == steps


def test_all_learning_rates_follow_in_proportion():
    changed = Options(lr=1e-3).schedule(SCHEDULE)
    assert changed == replace(SCHEDULE, lr=1e-3, muon=2e-3, lr_of={"vision_encoder": 5e-5, "speech_prompt": 1e-3})
    assert Options(lr=5e-5).schedule(find_stage("1.2").full).muon == 0  # AdamW stays AdamW


def test_the_learning_rate_of_lora_follows_too():
    """`--lora --lr` left the adapters at their own."""
    changed = Options(lr=1e-3, lora=LoraOptions(lr=4e-4)).schedule(SCHEDULE)
    assert changed.lr_of["language"] == pytest.approx(2e-4) and changed.lr == 1e-3


def test_passes_over_the_data_say_how_many_steps():
    assert Options(epochs=3).schedule(SCHEDULE) == replace(SCHEDULE, epochs=3, steps=0)
    assert Options(epochs=3, steps=7).schedule(SCHEDULE).steps == 7  # what is asked for exactly


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"epochs": 0}, {"batch": 0}, {"tokens": 1}, {"sequence_length": 4}, {"lr": 0}, {"save_every": 0}],
)
def test_what_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValidationError, match="greater than"):
        Options(**wrong)


def test_an_unknown_setting_is_refused():
    with pytest.raises(ValidationError, match="learning_rate"):
        Options(learning_rate=1e-3)


def test_options_come_through_as_json():
    """As they reach the processes of a stage."""
    options = Options(steps=3, lr=1e-4, recompute=False, skip_bad=True)
    assert Options.model_validate_json(options.model_dump_json()) == options
