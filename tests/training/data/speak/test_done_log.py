"""The log of finished items: torn lines, order, and one writer at a time."""

import resource

import pytest

from training.data.speak.done_log import DoneLog


def test_a_torn_line_is_written_again(tmp_path):
    path = tmp_path / "done.jsonl"
    with DoneLog(path, 5) as log:
        for item in (3, 0, 2):
            log.append(item, {"seconds": item})
    path.write_bytes(path.read_bytes()[:-4])
    with DoneLog(path, 5) as log:
        assert [item in log for item in range(5)] == [True, False, False, True, False]
        log.append(1, {"seconds": 1})
        assert [line["item"] for line in log] == [0, 1, 3] and len(log) == 3
    with DoneLog(path, 5) as log:
        assert [line["seconds"] for line in log] == [0, 1, 3]


def test_one_process_at_a_time(tmp_path):
    with DoneLog(tmp_path / "done.jsonl", 1), pytest.raises(ValueError, match="another process is writing"):
        DoneLog(tmp_path / "done.jsonl", 1)


def test_a_log_of_other_records(tmp_path):
    with DoneLog(tmp_path / "done.jsonl", 9) as log:
        log.append(8, {})
    with pytest.raises(ValueError, match="item 8 of 5"):
        DoneLog(tmp_path / "done.jsonl", 5)


def test_no_space_is_told_and_costs_one_line(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with DoneLog(tmp_path / "done.jsonl", 3) as log:
        log.append(0, {"seconds": 1})
        resource.setrlimit(resource.RLIMIT_FSIZE, (40, limits[1]))
        try:
            with pytest.raises(ValueError, match="cannot be written whole"):
                log.append(1, {"seconds": 1})
            with pytest.raises(ValueError, match="cannot be written: File too large"):
                log.append(2, {"seconds": 1})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    with DoneLog(tmp_path / "done.jsonl", 3) as log:
        assert [line["item"] for line in log] == [0]
