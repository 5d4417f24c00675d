"""Some parts of a stage alone: what is frozen then, and which sources are left out."""

import pytest

from training.only import only
from training.recipe import STAGES, find_stage

STAGE = find_stage("2.2")


def test_none_means_all():
    assert only(STAGE, ()) is STAGE


def test_the_other_parts_are_read_and_all_sources_stay():
    stage = only(STAGE, ["state_head", "language"])
    assert stage.trains == ("language", "state_head")
    assert stage.loads == STAGE.loads and set(stage.reads_only) == set(STAGE.loads) - set(stage.trains)
    assert (stage.nano, stage.full) == (STAGE.nano, STAGE.full)


def test_a_part_that_learns_from_few_sources_needs_these_alone():
    stage = only(STAGE, ["end_of_turn_head"])
    assert stage.nano.mixture == {"cut_questions": 100}
    assert set(stage.full.shares) == {"cut_questions"} and set(stage.full.as_many) == {"spoken_questions"}
    assert only(STAGE, ["end_of_turn_head", "language"]).nano == STAGE.nano


def test_what_is_taught_by_a_source_has_it():
    for stage in STAGES:
        for schedule in (stage.nano, stage.full or stage.nano):
            names = {**schedule.mixture, **schedule.shares, **schedule.as_many}
            for part, sources in schedule.taught_by.items():
                assert part in stage.trains and set(sources) <= set(names)


def test_a_part_that_the_stage_does_not_train_is_refused():
    with pytest.raises(ValueError, match=r"stage 2\.2 does not train codec_encoder; it trains: vision_encoder, "):
        only(STAGE, ["codec_encoder", "language"])
