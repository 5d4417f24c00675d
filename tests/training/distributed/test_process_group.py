"""Processes that train one stage together: what they tell each other, how they end, and that one of them writes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from parley.checkpoints import Checkpoint
from training.distributed.process_group import any_rank, gather_rows, is_main_process, rank, reduced, world_size
from training.launch.local import stage_command, start_stage
from training.launch.stage_job import StageJob
from training.options import Options

pytestmark = pytest.mark.timeout(120)  # each process imports torch

TOGETHER = """
import sys
import torch
import torch.distributed as dist
from training.distributed.process_group import any_rank, from_rank_0, gather_rows, process_group, rank, reduced
from training.distributed.process_group import world_size
cpu = torch.device("cpu")
with process_group(2, [sys.executable, "-c", sys.argv[1], sys.argv[1]]):
    sums = reduced([1.0 + rank(), 2**40 + 0.25], cpu)
    most = reduced([1.0 - rank(), 5.0 * rank()], cpu, dist.ReduceOp.MAX)
    flags = any_rank(rank() == 1, cpu), any_rank(False, cpu)
    of_main = torch.full((2,), 7.0 + rank())
    from_rank_0(of_main)
    rows = gather_rows(torch.full((3 * rank(), 2), float(rank()))), gather_rows(torch.full((1 + rank(), 1), rank()))
    found = rank(), world_size(), sums, most, flags, of_main.tolist(), [each.tolist() for each in rows]
    sys.stdout.write(f"{found}\\n")
    sys.stdout.flush()
    any_rank(False, cpu)
    if rank() == 0:
        raise SystemExit(7)
    any_rank(True, cpu)  # waits for the one that has ended
"""


def test_what_processes_tell_each_other_and_that_none_outlives_the_main_one():
    made = subprocess.run([sys.executable, "-c", TOGETHER, TOGETHER], capture_output=True, text=True, timeout=110)
    rows = [[[1.0, 1.0]] * 3, [[0], [1], [1]]]  # of one process none
    expected = f"2, [3.0, {2**41 + 0.5}], [1.0, 5.0], (True, False), [7.0, 7.0], {rows}"
    assert sorted(made.stdout.splitlines()) == [f"(0, {expected})", f"(1, {expected})"], made.stderr
    assert made.returncode == 7


def test_a_failure_ends_all_processes(tmp_path):
    """The stage that it builds on is missing: both processes end, and one says why."""
    job = StageJob(stage="1.1", run=tmp_path, processes=2)
    made = subprocess.run(stage_command(job.model_dump_json()), capture_output=True, text=True, timeout=110)
    assert made.returncode == 1
    assert made.stderr == f"stage 1.1 builds on 0.1, 0.2, which {tmp_path} does not have yet\n"


def test_a_process_that_trains_alone_is_the_main_one():
    cpu, rows = torch.device("cpu"), torch.randn(3, 2)
    assert (world_size(), rank(), is_main_process()) == (1, 0, True)
    assert reduced([1.5, 2.0], cpu) == [1.5, 2.0] and any_rank(True, cpu) and not any_rank(False, cpu)
    assert torch.equal(gather_rows(rows), rows)


def test_two_processes_make_one_checkpoint(tmp_path):
    job = StageJob(stage="0.1", run=tmp_path, processes=2, options=Options(steps=8))
    process = start_stage(job, threads=1)
    assert process.wait(timeout=110) == 0
    manifest = Checkpoint.open(tmp_path / "0.1").manifest
    assert sum(manifest.data["samples"].values()) == 8 * 16
    assert manifest.metrics["device"].startswith("2 × ")
    metrics = [json.loads(line) for line in (tmp_path / "work/0.1/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in metrics] == [8, 8]  # one loss and one validation, not two of each
    assert metrics[0]["loss"] < 6  # ln 512 is 6.2: it learns
