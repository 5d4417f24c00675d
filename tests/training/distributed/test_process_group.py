"""Processes that train one stage together: gradients are averaged, flags are shared, one process writes."""

from __future__ import annotations

import json
import subprocess
import sys

from parley.checkpoints import Checkpoint
from training.distributed.process_group import is_main_process, rank, world_size
from training.launch.local import start_stage
from training.recipe import find_stage

TOGETHER = """
import sys
import torch
from training.distributed.process_group import any_rank, average_gradients, is_main_process, process_group
from training.distributed.process_group import rank, world_size
with process_group(2, [sys.executable, "-c", sys.argv[1], sys.argv[1]]):
    first, second = torch.nn.Parameter(torch.zeros(2, 2)), torch.nn.Parameter(torch.zeros(3))
    first.grad = torch.full((2, 2), 1.0 + 2.0 * rank())
    if is_main_process():
        second.grad = torch.ones(3)
    average_gradients([first, second])
    flags = any_rank(rank() == 1, first.device), any_rank(False, first.device)
    found = rank(), world_size(), first.grad.tolist(), second.grad.tolist(), flags
    sys.stdout.write(f"{found}\\n")
"""


def test_gradients_are_averaged_and_flags_are_shared():
    made = subprocess.run([sys.executable, "-c", TOGETHER, TOGETHER], capture_output=True, text=True, timeout=120)
    assert made.returncode == 0, made.stderr
    expected = "2, [[2.0, 2.0], [2.0, 2.0]], [0.5, 0.5, 0.5], (True, False)"
    assert sorted(made.stdout.splitlines()) == [f"(0, {expected})", f"(1, {expected})"]


def test_a_failure_ends_all_processes(tmp_path):
    """The stage that it builds on is missing: both processes end, and one says why."""
    arguments = {"name": "1.1", "run": str(tmp_path), "preset": "nano", "processes": 2}
    command = [sys.executable, "-m", "training.launch.local", json.dumps(arguments)]
    made = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert made.returncode == 1
    assert made.stderr == f"stage 1.1 builds on 0.1, 0.2, which {tmp_path} does not have yet\n"


def test_a_process_that_trains_alone_is_the_main_one():
    assert (world_size(), rank(), is_main_process()) == (1, 0, True)


def test_two_processes_make_one_checkpoint(tmp_path):
    process = start_stage("0.1", tmp_path, "nano", 0, 20, 0, threads=1, processes=2)
    assert process.wait(timeout=240) == 0
    manifest = Checkpoint.open(tmp_path / "0.1").manifest
    assert sum(manifest.data["samples"].values()) == 20 * find_stage("0.1").nano.batch
    metrics = [json.loads(line) for line in (tmp_path / "work/0.1/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in metrics] == [20, 20]  # one loss and one validation, not two of each
    assert metrics[0]["loss"] < 6  # ln 512 is 6.2: it learns
