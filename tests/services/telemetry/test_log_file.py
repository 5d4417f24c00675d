"""A log file is bounded, and no line is lost, however many processes write it."""

from __future__ import annotations

import logging
import multiprocessing
from pathlib import Path

from services.telemetry.log_file import LogFile


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def write(path: Path, name: str, count: int, max_bytes: int) -> None:
    handler = LogFile(path, max_bytes)
    for number in range(count):
        handler.handle(logging.makeLogRecord({"msg": f"{name} {number}"}))
    handler.close()


def test_a_full_file_is_renamed_and_the_one_before_it_goes(tmp_path):
    path = tmp_path / "a.jsonl"
    write(path, "line", 1000, 500)
    kept = lines(tmp_path / "a.jsonl.1") + lines(path)
    assert kept == [f"line {number}" for number in range(1000 - len(kept), 1000)]
    assert all(file.stat().st_size < 600 for file in tmp_path.iterdir()) and len(list(tmp_path.iterdir())) == 2


def test_two_processes_lose_no_line_when_one_of_them_renames_it(tmp_path):
    path = tmp_path / "a.jsonl"
    size = 2 * sum(len(f"b {number}\n") for number in range(400)) * 2 // 3  # it is renamed once
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=write, args=(path, name, 400, size)) for name in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(30)
    found = lines(tmp_path / "a.jsonl.1") + lines(path)
    assert lines(tmp_path / "a.jsonl.1") and lines(path)
    assert sorted(found) == sorted(f"{name} {number}" for name in "ab" for number in range(400))


def test_a_file_that_was_removed_begins_anew(tmp_path):
    path = tmp_path / "a.jsonl"
    handler = LogFile(path, max_bytes=1)
    handler.handle(logging.makeLogRecord({"msg": "gone"}))
    path.unlink()
    handler.handle(logging.makeLogRecord({"msg": "here"}))
    handler.close()
    assert lines(path) == ["here"]
