"""Data of a file of records: each pass has every record once, in an order of its own, and some are held out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from training.data.recorded import HELD_OUT, RecordedData
from training.recipe import Schedule

SCHEDULE = Schedule(lr=1.0, batch=16, epochs=2)


def write(folder: Path, count: int) -> Path:
    turns = [
        [{"from": "human", "value": f"question {i}"}, {"from": "gpt", "value": f"answer {i}"}] for i in range(count)
    ]
    file = folder / "records.json"
    file.write_text(json.dumps([{"id": str(i), "conversations": turn} for i, turn in enumerate(turns)]))
    return file


def ids(data: RecordedData, numbers: range) -> list[str]:
    return [data.sample(number).about["id"] for number in numbers]


def test_every_pass_has_each_record_once_in_its_own_order(tmp_path, tiny_config, tiny_tokenizer):
    file = write(tmp_path, 2 * HELD_OUT)
    data = RecordedData(file, SCHEDULE, tiny_config, tiny_tokenizer, seed=0)
    count = 2 * HELD_OUT - 2
    first, second = ids(data, range(count)), ids(data, range(count, 2 * count))
    assert sorted(first) == sorted(second) and len(set(first)) == count and first != second
    again = RecordedData(file, SCHEDULE, tiny_config, tiny_tokenizer, seed=0)
    assert ids(again, range(2 * count)) == first + second
    held_out = {sample.about["id"] for sample in data.probe}
    assert len(held_out) == 2 and not held_out & set(first)
    assert data.schedule.steps == 5  # two passes over 38 records, 16 a step


def test_a_batch_is_no_larger_than_the_file(tmp_path, tiny_config, tiny_tokenizer):
    data = RecordedData(write(tmp_path, 3), SCHEDULE, tiny_config, tiny_tokenizer, seed=0)
    assert data.schedule.batch == 3 and data.schedule.steps == 2 and data.media == []


def test_a_file_without_records_is_refused(tmp_path, tiny_config, tiny_tokenizer):
    with pytest.raises(ValueError, match="has no records"):
        RecordedData(write(tmp_path, 0), SCHEDULE, tiny_config, tiny_tokenizer, seed=0)
