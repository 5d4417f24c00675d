"""Processes that train one stage together: each takes its share of every batch, and their gradients are averaged.

Notable points:
- The first process starts the others on this machine, or `torchrun` starts all of them, on many. One that is alone does
  not notice any of this.
- Rank 0 leads: it alone writes, measures, shows and complains.
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

PATIENCE = timedelta(minutes=30)  # of the others while the leader measures or saves


@contextmanager
def joined(processes: int, command: Sequence[str]):
    """Inside, this process is one of `processes` that train together; the first starts the others with `command`."""
    others: list[subprocess.Popen] = []
    if processes > 1 and "WORLD_SIZE" not in os.environ:
        os.environ |= {"WORLD_SIZE": str(processes), "RANK": "0", "LOCAL_RANK": "0"}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
        for number in range(1, processes):
            place = {"RANK": str(number), "LOCAL_RANK": str(number)}
            others.append(subprocess.Popen(command, env=os.environ | place))
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)
    try:
        yield
    except BaseException:
        for other in others:  # who leads no more must not be waited for
            other.terminate()
        raise
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
        for other in others:
            other.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def count() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    return int(os.environ.get("RANK", "0"))


def leads() -> bool:
    return rank() == 0


def anyone(flag: bool, device: torch.device) -> bool:
    """Whether the flag is set in any of the processes: all of them get the same answer at the same step."""
    if not dist.is_initialized():
        return flag
    told = torch.tensor(float(flag), device=device)
    dist.all_reduce(told, dist.ReduceOp.MAX)
    return bool(told)


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """The mean of the processes' gradients, in one message."""
    if not dist.is_initialized():
        return
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]  # all take part in all of it
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for parameter, mean in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        parameter.grad = mean.view_as(parameter)
