"""What saved states belong to: another recipe, start, seed or data is named; how it is computed may change."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest

from training.identity import FREE, check_identity, identity, write_identity
from training.recipe import Schedule, find_stage
from training.run_folder import IDENTITY_FILE

STAGE = find_stage("1.2")
SCHEDULE = Schedule(lr=2e-3, batch=8, steps=100, lr_of={"language": 1e-3}, mixture={"captions": 100})
OTHER = {  # of each field of a schedule
    "lr": 1e-3, "batch": 4, "steps": 50, "epochs": 2, "mixture": {"videos": 100}, "shares": {"text": 1.0},
    "as_many": {"text": ("captions",)}, "lr_of": {"language": 1e-4}, "muon": 1e-2, "warmup": 0.1, "floor": 0.5,
    "betas": (0.9, 0.999), "weight_decay": 0.0, "clip": 2.0, "sequence_length": 100, "tokens": 64, "save_every": 1,
    "validate_every": 1, "taught_by": {"language": ("text",)}, "anew": ("language",),
}  # fmt: skip


def of(schedule: Schedule = SCHEDULE, **changed) -> dict:
    facts = {"stage": STAGE, "schedule": schedule, "seed": 0, "data": "abc", "start": ["one", "two"]} | changed
    return identity(**facts)


@pytest.fixture
def begun(tmp_path):
    write_identity(tmp_path, of())
    return tmp_path


def test_the_same_again_may_continue(begun):
    check_identity(begun, of())


@pytest.mark.parametrize("name", [field.name for field in fields(Schedule)])
def test_each_number_of_the_recipe_is_compared(begun, name):
    """But for those that say how it is computed."""
    now = of(replace(SCHEDULE, **{name: OTHER[name]}))
    if name in FREE:
        check_identity(begun, now)
        return
    with pytest.raises(ValueError, match=f"was begun with {name} .*, now ") as raised:
        check_identity(begun, now)
    assert "another" not in str(raised.value).split(":")[0]  # nothing else differs


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seed": 7}, "another --seed (0, now 7)"),
        ({"data": "xyz"}, "another --data (abc, now xyz)"),
        ({"only": ["language"]}, "another --only (None, now ['language'])"),
        ({"start": ["one"]}, "another --from (['one', 'two'], now ['one'])"),
        ({"stage": find_stage("1.3")}, "another stage (1.2, now 1.3)"),
    ],
)
def test_what_differs_is_named_as_it_is_given(begun, changed, message):
    with pytest.raises(ValueError) as raised:
        check_identity(begun, of(**changed))
    expected = f"{begun} was begun with {message}: give the same again, or use another --run"
    assert str(raised.value) == expected


def test_all_that_differs_is_named(begun):
    with pytest.raises(ValueError, match=r"another --seed .*; another --data .*; lr 0\.002, now 0\.1: give"):
        check_identity(begun, of(replace(SCHEDULE, lr=0.1), seed=1, data="x"))


def test_states_of_which_nothing_is_known_are_refused(tmp_path):
    with pytest.raises(ValueError, match=f"{IDENTITY_FILE} is missing: it is not known what the saved states belong"):
        check_identity(tmp_path, of())


def test_it_is_written_at_once_or_not_at_all(begun):
    write_identity(begun, of(seed=1))
    assert [path.name for path in begun.iterdir()] == [IDENTITY_FILE]
    assert json.loads((begun / IDENTITY_FILE).read_text()) == of(seed=1)
