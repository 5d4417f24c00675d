"""A user's records as samples: bad ones are replaced by a function of the number, named and counted."""

from __future__ import annotations

import pytest

from training.data.epochs import Epochs, Taken
from training.data.own_samples import ATTEMPTS, HeldOutSamples, OwnSamples, Records, spread
from training.data.skipped import Skipped


def samples_of(made, tmp_path, *, bad=(), allowed=True, count=100) -> OwnSamples:
    mixed = made("questions", count, bad=bad)
    records = Records(mixed, range(count), lambda mixed, index: mixed.source[index])
    return OwnSamples([records], Epochs([Taken("questions", count, count)], 0), Skipped(tmp_path / "s.jsonl", allowed))


def ids(samples: OwnSamples, numbers: range) -> list[str]:
    return [samples[number].about["id"] for number in numbers]


def test_every_number_is_a_record_with_a_place(made, tmp_path):
    samples = samples_of(made, tmp_path)
    assert sorted(ids(samples, range(100))) == sorted(f"questions-{number}" for number in range(100))
    for number in range(10):
        assert samples.where(number) == f"questions.json:{int(samples[number].about['id'].split('-')[1]) + 1}"
    assert samples.source_of(3) == "questions" and samples.counts(250) == {"questions": 250}


def test_a_bad_record_is_replaced_by_another_one_the_same_in_every_process(made, tmp_path):
    good = ids(samples_of(made, tmp_path), range(100))
    samples = samples_of(made, tmp_path, bad={3, 4})
    first = ids(samples, range(100))
    replaced = [number for number in range(100) if first[number] != good[number]]
    assert sorted(good[number] for number in replaced) == ["questions-3", "questions-4"]
    assert samples.skipped.count() == 2
    other = samples_of(made, tmp_path, bad={3, 4})  # as another process, or after a resume
    assert [other[number].about["id"] for number in reversed(range(100))] == first[::-1]
    for number in replaced:  # messages name what was taken instead
        assert samples.where(number) == f"questions.json:{int(first[number].split('-')[1]) + 1}"


def test_without_leave_the_first_bad_one_is_named(made, tmp_path):
    samples = samples_of(made, tmp_path, bad=range(100), allowed=False)
    with pytest.raises(ValueError, match=r"questions.json:\d+: empty answer: turn 1 of \d+ is empty; .*--skip-bad"):
        samples[0]


def test_looking_for_a_good_record_ends(made, tmp_path):
    with pytest.raises(ValueError, match=f"{ATTEMPTS} records in a row cannot be learned from"):
        samples_of(made, tmp_path, bad=range(100))[0]


def test_held_out_samples_are_of_every_kind_and_decoded_when_asked_for(made, tmp_path):
    read = []

    def note(mixed, index):
        read.append(index)
        return mixed.source[index]

    sources = [made("questions", 1000, bad={0}), made("captions", 5), made("captions", 5, name="more")]
    records = [Records(mixed, range(len(mixed.source)), note) for mixed in sources]
    held_out = HeldOutSamples(records, 4, Skipped(tmp_path / "s.jsonl", allowed=True))
    assert [sample.about["id"] for sample in held_out] == [
        "questions-250", "questions-500", "questions-750", "captions-0", "captions-2", "more-0", "more-2",
    ]  # fmt: skip
    assert len(held_out) == 7 and [sample.about["id"] for sample in held_out[5::2]] == ["more-0"]
    read.clear()
    assert held_out[-1].about["id"] == "more-2" and read == [2]


def test_spread_places_are_different_and_in_range():
    assert spread(10, 4) == [0, 2, 5, 7] and spread(3, 10) == [0, 1, 2] and spread(0, 5) == []
