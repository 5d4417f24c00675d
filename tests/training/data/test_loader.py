"""The loader: the same batches in the same order, by a thread or by processes; a batch on another device."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import pytest
import torch

from training.data.loader import batches, to_device, workers_for


@dataclass
class Batch:
    step: int
    numbers: torch.Tensor
    named: dict[str, torch.Tensor] = field(default_factory=dict)
    absent: torch.Tensor | None = None


def make(step: int) -> Batch:
    return Batch(step, torch.arange(step), {"square": torch.tensor(step**2)})


@pytest.mark.parametrize("workers", [0, 2])
def test_every_batch_comes_once_and_in_order(workers):
    found = list(batches(make, range(4, 12), workers))
    assert [batch.step for batch in found] == list(range(4, 12))
    assert all(batch.numbers.tolist() == list(range(batch.step)) for batch in found)
    assert [int(batch.named["square"]) for batch in found] == [step**2 for step in range(4, 12)]


def test_workers_are_other_processes_and_the_thread_is_not():
    assert list(batches(lambda step: os.getpid(), range(3))) == [os.getpid()] * 3
    others = set(batches(lambda step: os.getpid(), range(4), 2))
    assert len(others) == 2 and os.getpid() not in others


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_in_a_batch_is_raised(workers):
    with pytest.raises(ZeroDivisionError):
        list(batches(lambda step: 1 // (2 - step), range(4), workers))


@pytest.mark.parametrize("workers", [0, 2])
def test_the_random_state_of_the_network_is_kept(workers):
    before = torch.get_rng_state()
    list(batches(make, range(3), workers))
    assert torch.equal(torch.get_rng_state(), before)


def test_no_processes_beside_a_cpu_that_trains():
    assert workers_for(torch.device("cpu")) == 0
    assert workers_for(torch.device("cuda")) >= 1


def test_all_tensors_of_a_batch_are_moved():
    there = to_device(make(3), torch.device("meta"))
    assert there.numbers.is_meta and there.named["square"].is_meta
    assert there.step == 3 and there.absent is None
