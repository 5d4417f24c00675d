"""The passes of each step, prepared before the step that needs them: by a thread beside a CPU that trains, by processes
beside a GPU.

A step's samples on a GPU are prepared in pieces, so that several processes work on one step and memory stays bounded.
"""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, is_dataclass, replace

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from training.objectives.objective import Batch, Objective, share

MAX_WORKERS = 12


def passes_of(
    objective: Objective, steps: range, device: torch.device, rank: int, world_size: int
) -> Iterator[list[Batch]]:
    """This process's passes of every step, in order."""
    pieces = Pieces(objective, steps, rank, world_size)
    workers = 0 if objective.needs_model else workers_for(device)
    return _from_processes(pieces, workers) if workers else _from_thread(pieces)


class Pieces:
    """The samples of this process, step by step."""

    def __init__(self, objective: Objective, steps: range, rank: int, world_size: int) -> None:
        self.objective, self.steps, self.rank, self.world_size = objective, steps, rank, world_size

    def of_step(self, step: int) -> list[Batch]:
        return self.objective.passes(share(self.objective.numbers(step), self.rank, self.world_size), step)

    def count(self) -> int:
        """Pieces of a step."""
        return math.ceil(math.ceil(self.objective.batch_size / self.world_size) / self.objective.piece)

    def __len__(self) -> int:
        return len(self.steps) * self.count()

    def __getitem__(self, index: int) -> list[Batch] | Exception:
        """A piece, or why it cannot be made: for a loader process, whose traceback nobody should read."""
        step, place = self.steps[index // self.count()], index % self.count()
        piece = share(share(self.objective.numbers(step), self.rank, self.world_size), place, self.count())
        try:
            return self.objective.passes(piece, step) if piece else []
        except (ValueError, OSError) as error:
            return error


def _from_processes(pieces: Pieces, workers: int) -> Iterator[list[Batch]]:
    loader = DataLoader(
        pieces, None, sampler=range(len(pieces)), num_workers=workers, prefetch_factor=1,
        multiprocessing_context="fork", worker_init_fn=ignore_signals,
        generator=torch.Generator(),  # its own, so that the random state of the network does not change
    )  # fmt: skip
    made = iter(loader)
    try:
        for _ in pieces.steps:
            yield [batch for _ in range(pieces.count()) for batch in _raised(next(made))]
    finally:
        del made  # ends its processes; an error would keep them, and end them slowly when it is forgotten


def ignore_signals(worker: int) -> None:
    """In a loader process. Ctrl-C and some launchers signal every process of the terminal or group; the one that trains
    then finishes its step, for which it needs these. They end with it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _raised(piece: list[Batch] | Exception) -> list[Batch]:
    if isinstance(piece, Exception):
        raise piece
    return piece


def _from_thread(pieces: Pieces) -> Iterator[list[Batch]]:
    with ThreadPoolExecutor(1) as thread:
        upcoming = None
        for step in pieces.steps:
            made = upcoming.result() if upcoming else pieces.of_step(step)
            upcoming = thread.submit(pieces.of_step, step + 1) if step + 1 in pieces.steps else None
            yield made


def workers_for(device: torch.device) -> int:
    """How many processes keep `device` busy: its share of this machine's cores, and none for a CPU, whose cores the
    network needs."""
    cores = len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return min(MAX_WORKERS, max(1, cores - 2)) if device.type == "cuda" else 0


def to_device(batch, device: torch.device):
    """A batch on `device`: a tensor, or a dict or dataclass that holds some."""
    if isinstance(batch, Tensor):
        return batch.to(device)
    if isinstance(batch, dict):
        return {key: to_device(value, device) for key, value in batch.items()}
    if is_dataclass(batch):
        return replace(batch, **{f.name: to_device(getattr(batch, f.name), device) for f in fields(batch)})
    return batch
