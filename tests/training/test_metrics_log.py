"""The metrics of a stage: one line a call, and none twice after a resume."""

from __future__ import annotations

import json

from training.metrics_log import METRICS_FILE, MetricsLog, drop_later_metrics


def steps(folder) -> list[int]:
    return [json.loads(line)["step"] for line in (folder / METRICS_FILE).read_text().splitlines()]


def write(folder, *numbers: int, keep: bool = True) -> list[int]:
    """Writes metrics of these steps; returns the steps that the callback got."""
    called = []
    with MetricsLog(folder, lambda step, metrics: called.append(step), keep) as log:
        for number in numbers:
            log.write(number, {"loss": 1 / 3})
    return called


def test_metrics_are_written_and_passed_on(tmp_path):
    assert write(tmp_path, 20, 40) == [20, 40] == steps(tmp_path)
    assert '"loss": 0.33333}' in (tmp_path / METRICS_FILE).read_text()


def test_a_new_start_leaves_no_old_metrics_and_a_resume_keeps_them(tmp_path):
    write(tmp_path, 20)
    write(tmp_path, 40, keep=True)
    assert steps(tmp_path) == [20, 40]
    write(tmp_path, 60, keep=False)
    assert steps(tmp_path) == [60]


def test_later_metrics_and_a_line_cut_short_are_dropped(tmp_path):
    write(tmp_path, 20, 40, 60)
    with (tmp_path / METRICS_FILE).open("a") as file:
        file.write('{"step": 80, "lo')
    drop_later_metrics(tmp_path, 40)
    assert steps(tmp_path) == [20, 40]
