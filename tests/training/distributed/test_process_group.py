"""Processes that share a stage: they agree, they take steps together, and one of them writes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from parley.checkpoints import Checkpoint
from training.distributed import process_group as ranks
from training.launch import local as runs
from training.recipe import recipe, stage

TOGETHER = """
import sys
import torch
from training.distributed import process_group as ranks
with ranks.joined(2, [sys.executable, "-c", sys.argv[1], sys.argv[1]]):
    first, second = torch.nn.Parameter(torch.zeros(2, 2)), torch.nn.Parameter(torch.zeros(3))
    first.grad = torch.full((2, 2), 1.0 + 2.0 * ranks.rank())
    if ranks.leads():
        second.grad = torch.ones(3)
    ranks.average_gradients([first, second])
    told = ranks.anyone(ranks.rank() == 1, first.device), ranks.anyone(False, first.device)
    found = ranks.rank(), ranks.count(), first.grad.tolist(), second.grad.tolist(), told
    sys.stdout.write(f"{found}\\n")
"""


def test_gradients_are_averaged_and_a_flag_is_everyones():
    made = subprocess.run([sys.executable, "-c", TOGETHER, TOGETHER], capture_output=True, text=True, timeout=120)
    assert made.returncode == 0, made.stderr
    told = "2, [[2.0, 2.0], [2.0, 2.0]], [0.5, 0.5, 0.5], (True, False)"
    assert sorted(made.stdout.splitlines()) == [f"(0, {told})", f"(1, {told})"]


def test_a_failure_leaves_nobody_waiting(tmp_path):
    """The stage it builds on is missing: both find out, one says so, neither stays."""
    arguments = {"name": "1.1", "run": str(tmp_path), "preset_name": "nano", "processes": 2}
    command = [sys.executable, "-m", "training.launch.local", json.dumps(arguments)]
    made = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert made.returncode == 1
    assert made.stderr == f"stage 1.1 builds on 0.1, 0.2, which {tmp_path} does not have yet\n"


def test_one_process_is_alone():
    assert (ranks.count(), ranks.rank(), ranks.leads()) == (1, 0, True)


def test_two_processes_make_one_checkpoint(tmp_path):
    process = runs._start("0.1", tmp_path, "nano", 0, 20, 0, 1, processes=2)
    assert process.wait(timeout=240) == 0
    manifest = Checkpoint.open(tmp_path / "0.1").manifest
    assert sum(manifest.data["samples"].values()) == 20 * stage("0.1").nano.batch
    metrics = [json.loads(line) for line in (tmp_path / "work/0.1/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in metrics] == [20, 20]  # one loss and one validation, not two of each
    assert metrics[0]["loss"] < 6  # ln 512 is 6.2: it learns


@pytest.mark.parametrize(
    ("name", "done", "expected"),
    [
        ("0.1", (), False),
        ("0.2", ("0.1",), False),
        ("1.3", ("0.1", "0.2", "1.1", "1.2", "2.1a"), False),  # the codec could run beside it
        ("1.3", ("0.1", "0.2", "1.1", "1.2", "2.1a", "3.1"), True),
        ("3.2", tuple(row.name for row in recipe("nano")[:-1]), True),
    ],
)
def test_what_nothing_can_run_beside_has_the_machine(name, done, expected):
    waiting = [row for row in recipe("nano") if row.name not in done]
    assert runs.alone(stage(name), waiting) is expected


def test_the_codec_is_not_shared():
    assert [row.name for row in recipe("nano") if not runs.shareable(row, "nano", 2)] == ["3.1"]
