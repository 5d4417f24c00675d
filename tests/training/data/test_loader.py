"""Batches made ahead: the same ones in the same order, by a thread or by processes, on the device that is asked for."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import pytest
import torch

from training.data.loader import batches, moved, workers_for


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
def test_what_fails_while_a_batch_is_made_is_told(workers):
    with pytest.raises(ZeroDivisionError):
        list(batches(lambda step: 1 // (2 - step), range(4), workers))


@pytest.mark.parametrize("workers", [0, 2])
def test_the_random_numbers_of_the_network_stay(workers):
    before = torch.get_rng_state()
    list(batches(make, range(3), workers))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_network_on_the_cpu_keeps_its_cores():
    assert workers_for(torch.device("cpu")) == 0
    assert workers_for(torch.device("cuda")) >= 1


def test_a_batch_moves_whole():
    there = moved(make(3), torch.device("meta"))
    assert there.numbers.is_meta and there.named["square"].is_meta
    assert there.step == 3 and there.absent is None
