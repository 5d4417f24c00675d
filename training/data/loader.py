"""Batches prepared before the step that needs them: by a thread beside a CPU that trains, by processes beside a GPU."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, is_dataclass, replace

import torch
from torch import Tensor
from torch.utils.data import DataLoader

MAX_WORKERS = 12


def batches(make: Callable[[int], object], steps: range, workers: int = 0) -> Iterator:
    """`make(step)` for every step, in order; `workers` processes prepare some in advance, or a thread prepares one."""
    return _from_processes(make, steps, workers) if workers else _from_thread(make, steps)


def _from_processes(make: Callable[[int], object], steps: range, workers: int) -> Iterator:
    yield from DataLoader(
        _Steps(make), None, sampler=steps, num_workers=workers, multiprocessing_context="fork",
        generator=torch.Generator(),  # its own, so that the random state of the network does not change
    )  # fmt: skip


def _from_thread(make: Callable[[int], object], steps: range) -> Iterator:
    with ThreadPoolExecutor(1) as thread:
        upcoming = None
        for step in steps:
            made = upcoming.result() if upcoming else make(step)
            upcoming = thread.submit(make, step + 1) if step + 1 in steps else None
            yield made


def workers_for(device: torch.device) -> int:
    """How many processes keep `device` busy: none for a CPU, whose cores the network needs."""
    return min(MAX_WORKERS, max(1, (os.cpu_count() or 1) - 2)) if device.type == "cuda" else 0


def to_device(batch, device: torch.device):
    """A batch on `device`: a tensor, or a dict or dataclass that holds some."""
    if isinstance(batch, Tensor):
        return batch.to(device)
    if isinstance(batch, dict):
        return {key: to_device(value, device) for key, value in batch.items()}
    if is_dataclass(batch):
        return replace(batch, **{f.name: to_device(getattr(batch, f.name), device) for f in fields(batch)})
    return batch


class _Steps:
    """`make` as the data set that `DataLoader` expects."""

    def __init__(self, make: Callable[[int], object]) -> None:
        self.make = make

    def __getitem__(self, step: int):
        return self.make(step)
