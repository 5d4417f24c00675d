"""Findings of ranges add up to those of all."""

from training.data.checking.duplicates import mark_duplicates
from training.data.checking.findings import LISTED, Findings
from training.data.records import Bad


def test_what_adds_up():
    first, second = Findings(good=1, answers=2), Findings(good=3)
    first.tokens.append(7)
    second.tokens.extend([5, 6])
    first.media.update(image=1)
    second.media.update(image=2, audio=1)
    second.add_bad(Bad("a:1", "", "missing file", "x"))
    first.merge(second)
    assert (first.good, first.answers, list(first.tokens)) == (4, 2, [7, 5, 6])
    assert first.media == {"image": 3, "audio": 1} and first.reasons == {"missing file": 1}


def test_bad_records_are_counted_and_only_the_first_are_kept():
    first, second = Findings(), Findings()
    for found in (first, second):
        for number in range(LISTED - 1):
            found.add_bad(Bad(str(number), "", "bad turn", ""))
    first.merge(second)
    assert len(first.bad) == LISTED and first.reasons["bad turn"] == 2 * (LISTED - 1)


def test_duplicates_name_the_first():
    found = Findings(good=5)
    found.hashes.extend([9, 3, 9, 4, 9])
    found.indices.extend([0, 1, 5, 6, 8])
    mark_duplicates(found, lambda index: f"f:{index}")
    assert found.good == 3 and [bad.where for bad in found.bad] == ["f:5", "f:8"]
    assert all("already at f:0" in bad.detail for bad in found.bad)
