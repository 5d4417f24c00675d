"""The samples that an epoch takes: the recipe's shares, as many spoken as written, the weights of the mix."""

from __future__ import annotations

from training.data.mix import RECORDS
from training.data.shares import Available, samples_taken
from training.recipe import find_stage


def taken(stage: str, *sources: tuple[str, float, int]) -> list[int]:
    return samples_taken(find_stage(stage).full, [Available(*source) for source in sources])


def test_the_shares_of_the_paper():
    assert taken("1.1", ("captions", 1, 1000)) == [200]
    assert taken("1.2", ("captions", 1, 1000), ("captions", 2, 10)) == [1000, 20]
    assert taken("1.3", ("captions", 1, 1000), ("questions", 1, 500), ("text", 0.5, 50)) == [200, 500, 25]


def test_as_many_spoken_questions_as_written_ones_in_2_2():
    assert taken(
        "2.2", ("captions", 1, 1000), ("questions", 1, 900), ("text", 1, 100), ("spoken_questions", 1, 1000),
        ("negatives", 1, 30),
    ) == [40, 90, 10, 100, 30]  # fmt: skip
    # Two sources of spoken questions share it; where there are fewer than that, all are taken.
    assert taken("2.2", ("questions", 1, 1000), ("spoken_questions", 1, 600), ("spoken_questions", 1, 200)) == [
        100, 75, 25,
    ]  # fmt: skip
    assert taken("2.2", ("questions", 1, 1000), ("spoken_questions", 1, 60)) == [100, 60]
    assert taken("2.2", ("spoken_questions", 1, 60)) == [60]


def test_a_plain_file_is_taken_whole_and_a_small_share_at_least_once():
    assert taken("1.1", (RECORDS, 1, 77)) == [77]
    assert taken("2.2", ("captions", 1, 5), ("captions", 1, 0)) == [1, 0]
