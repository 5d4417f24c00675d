"""A check that is stopped goes on, and finds what one that was not finds."""

import json
from dataclasses import replace

import pytest

from parley.config import preset
from training.data.checking.progress import Progress
from training.data.checking.record_check import RecordCheck
from training.data.checking.scan import scan
from training.data.mix import MixSource
from training.data.sources.dialogues import open_dialogues


@pytest.fixture
def check(tmp_path):
    """Of 100 records, of which two are bad, and one is a duplicate of one that is checked before the stop."""
    turns = [{"from": "human", "value": "What?"}, {"from": "gpt", "value": "That."}]
    lines = [{"id": str(number), "conversations": turns} for number in range(100)]
    lines[10], lines[80], lines[90] = {}, lines[3], {"id": "90"}
    (tmp_path / "records.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return RecordCheck(MixSource("mine", "text", open_dialogues(tmp_path / "records.jsonl")), preset("nano"))


def test_it_goes_on_where_it_was_stopped(check, tmp_path):
    whole = scan(check, 1, Progress(None, check))
    assert (whole.good, whole.reasons.total()) == (97, 3)
    folder, ranges = tmp_path / "progress", []

    class Stopped(RecordCheck):
        def range(self, start, stop):
            ranges.append(start)
            if len(ranges) == 3:
                raise KeyboardInterrupt
            return super().range(start, stop)

    stopped = Stopped(check.mixed, check.config)
    with pytest.raises(KeyboardInterrupt):
        scan(stopped, 1, Progress(folder, stopped))
    assert Progress(folder, check).load()[1] == 64
    assert scan(stopped, 1, Progress(folder, stopped)) == whole
    assert ranges == [0, 32, 64, 64, 96]
    assert scan(check, 2, Progress(folder, check)) == whole  # all is known
    Progress(folder, check).forget()
    assert not list(folder.iterdir())


def test_another_check_does_not_go_on_from_it(check, tmp_path):
    names = {
        Progress(tmp_path, other).file for other in (check, replace(check, decode=False), replace(check, longest=9))
    }
    assert len(names) == 3
