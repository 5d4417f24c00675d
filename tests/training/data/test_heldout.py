"""Held-out records: about 2 %, by picture and by speaker, the same in every source and for every seed."""

from __future__ import annotations

import numpy as np
import pytest

from training.data.heldout import CHECKED, FEW, index_hashes, split

MANY = 2 * CHECKED


def pictures(mixed, numbers) -> set[str]:
    return {mixed.source.group(int(number)) for number in numbers}


def test_no_picture_is_both_learned_from_and_held_out_in_any_source(made):
    sources = [made("captions", 3000), made("questions", 2000, group=lambda i: f"{i % 700}.png"), made("text", 30)]
    parts = split(sources)
    held_out = set.union(*(pictures(mixed, part.held_out) for mixed, part in zip(sources, parts, strict=True)))
    learned = set.union(*(pictures(mixed, part.learned) for mixed, part in zip(sources, parts, strict=True)))
    assert held_out and not held_out & learned
    for mixed, part in zip(sources, parts, strict=True):
        assert sorted([*part.learned, *part.held_out]) == list(range(len(mixed.source)))
    assert 0.01 < len(parts[0].held_out) / 3000 < 0.03


def test_a_source_of_fifty_holds_out_a_few_and_a_tiny_one_what_others_hold_out(made):
    alone = [made("questions", 20, name="tiny", group=lambda i: f"{i}.png")]
    assert len(split(alone)[0].held_out) == 0
    both = [made("captions", 50, group=lambda i: f"{i}.png"), *alone]
    captions, tiny = split(both)
    assert len(captions.held_out) == FEW
    assert set(tiny.held_out) == {number for number in captions.held_out if number < 20}


def test_one_picture_for_all_records_is_learned_from(made):
    (part,) = split([made("questions", 100, group=lambda i: "same.png")])
    assert len(part.learned) == 100 and not len(part.held_out)


def test_records_without_a_picture_are_held_out_one_by_one(made):
    first, second = split([made("text", 5000, group=lambda i: ""), made("text", 5000, name="b", group=lambda i: "")])
    assert first.by == "record" and 60 < len(first.held_out) < 140
    assert set(first.held_out) != set(second.held_out)


def test_speakers_are_held_out_whole_unless_there_are_few(made):
    many = made("transcriptions", 4000, group=lambda i: f"speaker {i % 40}")
    few = made("speech", 1000, group=lambda i: f"reader {i % 2}")
    by_speaker, by_record = split([many, few])
    assert by_speaker.by == "speaker" and by_record.by == "record"
    assert pictures(many, by_speaker.held_out) and not pictures(many, by_speaker.held_out) & pictures(
        many, by_speaker.learned
    )
    assert 5 < len(by_record.held_out) < 40


def test_a_speaker_whom_another_source_holds_out_is_held_out_also_where_there_are_few(made):
    many = made("transcriptions", 4000, group=lambda i: f"speaker {i % 40}")
    (alone,) = split([many])
    held_out = pictures(many, alone.held_out)
    few = made("speech", 100, group=lambda i: sorted(held_out)[0] if i < 10 else "reader")
    _, by_record = split([many, few])
    assert by_record.by == "record" and {*range(10)} <= {*by_record.held_out} and len(by_record.learned) > 80


def test_bad_records_are_in_neither_and_looked_at_again(made, tmp_path):
    source = made("captions", 100, bad={7, 50})
    (part,) = split([source], tmp_path)
    assert [bad.index for bad in part.bad] == [7, 50] and part.bad[0].error.reason == "empty answer"
    assert not {7, 50} & {*part.learned, *part.held_out}
    source.source.bad = {50}  # somebody mended one
    (again,) = split([source], tmp_path)
    assert [bad.index for bad in again.bad] == [50] and 7 in {*again.learned, *again.held_out}


def test_hashes_are_read_once_and_kept(made, tmp_path):
    source = made("captions", 200)
    (first,) = split([source], tmp_path)
    source.source.group_of = None  # would raise if it were called again
    (second,) = split([source], tmp_path)
    assert np.array_equal(first.learned, second.learned) and np.array_equal(first.held_out, second.held_out)


def test_many_records_are_split_by_picture_without_reading_them(made):
    source = made("captions", MANY, bad=range(MANY), group=lambda i: f"{i >> 2}")  # reading one would raise
    (part,) = split([source])
    assert len(part.learned) + len(part.held_out) == MANY
    assert 0.018 < len(part.held_out) / MANY < 0.022
    assert not np.isin(part.held_out // 4, part.learned // 4).any()


@pytest.mark.parametrize("name", ["a", "b"])
def test_record_hashes_differ(name):
    hashes = index_hashes(name, 10_000)
    assert len(np.unique(hashes)) == 10_000 and hashes.min() > 1
