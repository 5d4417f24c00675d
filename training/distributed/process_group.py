"""The processes that train one stage together: each computes a share of every batch, and gradients are averaged.

Notable points:
- The main process (rank 0) starts the others on this machine, or `torchrun` starts all of them.
- Only the main process writes files, validates and reports.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Sequence
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import nn

COLLECTIVE_TIMEOUT = timedelta(minutes=30)  # the other processes wait while the main one validates or saves


@contextmanager
def process_group(processes: int, command: Sequence[str]):
    """Inside, this process is one of `processes` that train together; the main one starts the others with `command`."""
    others: list[subprocess.Popen] = []
    if processes > 1 and "WORLD_SIZE" not in os.environ:
        others = _start_others(processes, command)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        backend = "nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, timeout=COLLECTIVE_TIMEOUT)
    try:
        yield
    except BaseException:
        for other in others:  # they would wait for this process
            other.terminate()
        raise
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
        for other in others:
            other.wait()


def _start_others(processes: int, command: Sequence[str]) -> list[subprocess.Popen]:
    os.environ |= {"WORLD_SIZE": str(processes), "RANK": "0", "LOCAL_RANK": "0"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    ranks = ({"RANK": str(number), "LOCAL_RANK": str(number)} for number in range(1, processes))
    return [subprocess.Popen(command, env=os.environ | variables) for variables in ranks]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """The number of this process, from 0."""
    return int(os.environ.get("RANK", "0"))


def is_main_process() -> bool:
    return rank() == 0


def any_rank(flag: bool, device: torch.device) -> bool:
    """Whether the flag is set in any process. All processes get the same answer at the same step."""
    if not dist.is_initialized():
        return flag
    value = torch.tensor(float(flag), device=device)
    dist.all_reduce(value, dist.ReduceOp.MAX)
    return bool(value)


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Replaces the gradients by their mean over the processes, with one collective call."""
    if not dist.is_initialized():
        return
    # A parameter without a gradient here may have one in another process.
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for parameter, mean in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        parameter.grad = mean.view_as(parameter)
