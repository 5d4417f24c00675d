"""Processes that train one stage together: each takes its share of every batch, and their gradients are averaged.

Notable points:
- `torchrun` starts them; a process that nothing started so is alone, and nothing below changes anything for it.
- Rank 0 leads: it alone writes, measures and shows.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import nn

PATIENCE = timedelta(minutes=30)  # of the others while the leader measures or saves


@contextmanager
def joined():
    """Inside, this process is one of those that `torchrun` started, if it started any."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)
    try:
        yield
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def count() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


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
