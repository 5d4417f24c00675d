"""Bad records: refused, or named once in a file that several processes write."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest

from training.data.record_error import RecordError
from training.data.skipped import SHOWN, Skipped

ERROR = RecordError("missing file", "image file a.png does not exist")


def lines(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_without_leave_the_first_one_is_an_error_that_says_what_to_do(tmp_path):
    with pytest.raises(ValueError, match=r"a.json:3 \(id x\): missing file.*parley data check.*--skip-bad"):
        Skipped(tmp_path / "skipped.jsonl", allowed=False).add("a", "a.json:3 (id x)", ERROR)
    assert not (tmp_path / "skipped.jsonl").exists()


def test_each_is_named_once_the_first_ones_on_the_terminal(tmp_path, capsys):
    file = tmp_path / "work" / "skipped.jsonl"
    for _ in range(2):
        skipped = Skipped(file, allowed=True)  # the second time as after a resume
        for number in range(SHOWN + 10):
            skipped.add("a", f"a.json:{number}", ERROR)
            skipped.add("a", f"a.json:{number}", ERROR)
        assert skipped.count() == SHOWN + 10
    assert [line["where"] for line in lines(file)] == [f"a.json:{number}" for number in range(SHOWN + 10)]
    assert lines(file)[0] == {"source": "a", "where": "a.json:0", "reason": "missing file", "detail": str(ERROR)}
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == SHOWN and shown[0] == f"skipped a.json:0: {ERROR}" and str(file) in shown[-1]


def write_many(file: Path) -> None:
    skipped = Skipped(file, allowed=True)
    for number in range(200):
        skipped.add("a", f"a.json:{number}", ERROR)


def test_several_processes_write_one_file(tmp_path):
    file = tmp_path / "skipped.jsonl"
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=write_many, args=(file,)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert sorted(line["where"] for line in lines(file)) == sorted(f"a.json:{number}" for number in range(200))


def test_a_line_that_was_cut_off_does_not_spoil_the_next_one(tmp_path):
    file = tmp_path / "skipped.jsonl"
    Skipped(file, allowed=True).add("a", "a.json:1", ERROR)
    file.write_bytes(file.read_bytes() + b'{"source": "a", "whe')  # killed while it wrote
    skipped = Skipped(file, allowed=True)
    skipped.add("a", "a.json:2", ERROR)
    assert skipped.count() == 2 and Skipped(file, allowed=True).count() == 2
