"""Batches made ahead of the step that needs them: by a thread where the cores are busy with the network, by processes
where a GPU computes and a thread could not keep up with it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, is_dataclass, replace

import torch
from torch import Tensor
from torch.utils.data import DataLoader

MOST_WORKERS = 12


def batches(make: Callable[[int], object], steps: range, workers: int = 0) -> Iterator:
    """`make(step)` for every step, in order; `workers` processes make some ahead, or a thread makes one."""
    if workers:
        yield from DataLoader(
            _Steps(make), None, sampler=steps, num_workers=workers, multiprocessing_context="fork",
            generator=torch.Generator(),  # else it draws from the network's random numbers, and no resume is exact
        )  # fmt: skip
        return
    with ThreadPoolExecutor(1) as thread:
        upcoming = None
        for step in steps:
            made = upcoming.result() if upcoming else make(step)
            upcoming = thread.submit(make, step + 1) if step + 1 in steps else None
            yield made


def workers_for(device: torch.device) -> int:
    """How many processes keep `device` busy; none beside a network that itself needs the cores."""
    return min(MOST_WORKERS, max(1, (os.cpu_count() or 1) - 2)) if device.type == "cuda" else 0


def moved(batch, device: torch.device):
    """A batch, that is a tensor or a dataclass or dict with some, on `device`."""
    if isinstance(batch, Tensor):
        return batch.to(device)
    if isinstance(batch, dict):
        return {key: moved(value, device) for key, value in batch.items()}
    if is_dataclass(batch):
        return replace(batch, **{f.name: moved(getattr(batch, f.name), device) for f in fields(batch)})
    return batch


class _Steps:
    """`make` as the data set that the loader wants."""

    def __init__(self, make: Callable[[int], object]) -> None:
        self.make = make

    def __getitem__(self, step: int):
        return self.make(step)
