"""Processes that check records: none outlives the one that started them, and one that dies is named."""

import json
import multiprocessing
import os
import time
from pathlib import Path

import pytest

from parley.config import preset
from training.data.checking.progress import Progress
from training.data.checking.record_check import RecordCheck
from training.data.checking.scan import scan
from training.data.mix import MixSource
from training.data.sources.dialogues import open_dialogues


@pytest.fixture
def records(tmp_path):
    turns = [{"from": "human", "value": "What?"}, {"from": "gpt", "value": "That."}]
    file = tmp_path / "records.jsonl"
    file.write_text("\n".join(json.dumps({"id": str(number), "conversations": turns}) for number in range(20_000)))
    return file


def test_a_process_that_dies_is_told(records):
    class Dying(RecordCheck):
        def range(self, start, stop):
            if start == 320:
                os._exit(9)
            return super().range(start, stop)

    check = Dying(MixSource("mine", "text", open_dialogues(records)), preset("nano"))
    with pytest.raises(ValueError, match=r"a process was killed while it read records \d+ to about \d+"):
        scan(check, 2, Progress(None, check))


def test_no_process_outlives_the_one_that_started_it(records):
    check = RecordCheck(MixSource("mine", "text", open_dialogues(records)), preset("nano"))
    process = multiprocessing.get_context("fork").Process(target=scan, args=(check, 2, Progress(None, check)))
    process.start()
    while len(children := children_of(process.pid)) < 2:
        assert process.is_alive()
        time.sleep(0.01)
    process.kill()
    process.join()
    while any(Path(f"/proc/{child}").exists() for child in children):  # until the test's timeout
        time.sleep(0.05)


def children_of(process: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except OSError:
        return []
