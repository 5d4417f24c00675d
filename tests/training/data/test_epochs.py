"""Epochs: exact shares, every record in turn, the same samples however they are asked for."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from training.data.epochs import Epochs, Taken

MILLION = 1_000_000


def records(epochs: Epochs, numbers: range) -> list[tuple[int, int]]:
    return [(place.source, place.record) for place in map(epochs.__getitem__, numbers)]


def test_an_epoch_takes_exactly_its_samples_of_every_source():
    epochs = Epochs([Taken("whole", 10, 10), Taken("fifth", 50, 10), Taken("twice", 7, 14)], seed=0)
    assert len(epochs) == 34
    seen = Counter(records(epochs, range(34)))
    assert Counter(source for source, _ in seen.elements()) == {0: 10, 1: 10, 2: 14}
    assert {record for source, record in seen if source == 0} == set(range(10))
    assert max(count for (source, _), count in seen.items() if source == 1) == 1
    assert all(seen[2, record] == 2 for record in range(7))


def test_a_share_gives_other_records_in_each_epoch_until_all_were_used():
    epochs = Epochs([Taken("fifth", 50, 10), Taken("other", 3, 3)], seed=1)
    five = [
        [record for source, record in records(epochs, range(13 * i, 13 * (i + 1))) if source == 0] for i in range(5)
    ]
    assert sorted(record for one in five for record in one) == list(range(50))
    tenth = [record for source, record in records(epochs, range(65, 130)) if source == 0]
    assert sorted(tenth) == list(range(50)) and tenth != [record for one in five for record in one]


def test_weight_one_and_a_half_gives_each_record_three_times_in_two_epochs():
    epochs = Epochs([Taken("a", 8, 12)], seed=2)
    assert set(Counter(records(epochs, range(24))).values()) == {3}
    assert set(Counter(records(epochs, range(12))).values()) == {1, 2}


def test_a_sample_is_a_function_of_seed_and_number_on_any_number_of_ranks():
    def step(epochs: Epochs, ranks: int) -> list:
        shares = [range(512 + 512 * rank // ranks, 512 + 512 * (rank + 1) // ranks) for rank in range(ranks)]
        return [place for share in shares for place in records(epochs, share)]

    sources = [Taken("a", MILLION, 200_000), Taken("b", 3 * MILLION, 3 * MILLION)]
    one = step(Epochs(sources, seed=0), 1)
    assert step(Epochs(sources, seed=0), 2) == step(Epochs(sources, seed=0), 4) == one
    assert step(Epochs(sources, seed=1), 1) != one


def test_a_million_records_have_exact_counts():
    epochs = Epochs([Taken("captions", MILLION, 40_000), Taken("questions", 500_000, 50_000)], seed=0)
    assert epochs.counts(90_000) == {"captions": 40_000, "questions": 50_000}
    half = epochs.counts(135_000)
    assert sum(half.values()) == 135_000 and abs(half["captions"] - 60_000) < 500
    drawn = Counter(epochs.source_of(number) for number in range(1000))
    assert epochs.counts(1000) == {"captions": drawn["captions"], "questions": drawn["questions"]}


def test_two_epochs_have_different_orders():
    epochs = Epochs([Taken("a", 1000, 1000)], seed=0)
    first, second = records(epochs, range(1000)), records(epochs, range(1000, 2000))
    assert sorted(first) == sorted(second) and first != second
    assert np.mean([a == b for a, b in zip(first, second, strict=True)]) < 0.02


def test_what_stands_in_for_a_record_is_of_its_source():
    epochs = Epochs([Taken("a", 100, 100), Taken("b", 100, 100)], seed=0)
    for number in range(20):
        others = [epochs.another(number, attempt) for attempt in range(1, 20)]
        assert {other.source for other in others} == {epochs[number].source}
        assert len({other.record for other in others}) > 10


def test_an_epoch_without_samples_is_refused():
    with pytest.raises(ValueError, match="no records to learn from in b"):
        Epochs([Taken("a", 1, 1), Taken("b", 0, 1)], seed=0)
    with pytest.raises(ValueError, match="an epoch has no samples"):
        Epochs([Taken("a", 5, 0)], seed=0)
