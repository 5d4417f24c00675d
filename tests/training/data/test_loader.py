"""The loader: the same passes in the same order, by a thread or by processes; each sample in one process of a step."""

from __future__ import annotations

import multiprocessing
import os
import signal
from dataclasses import dataclass, field

import pytest
import torch

from training.data import loader
from training.data.loader import Pieces, passes_of, to_device, workers_for
from training.objectives.objective import share

CPU = torch.device("cpu")


@dataclass
class Batch:
    numbers: torch.Tensor
    step: int
    process: int
    named: dict[str, torch.Tensor] = field(default_factory=dict)
    absent: torch.Tensor | None = None


class Squares:
    """An objective of passes of at most three samples."""

    needs_model = False
    piece = 2

    def __init__(self, batch_size: int = 7, broken: int | None = None, error: type[Exception] = ValueError) -> None:
        self.batch_size, self.broken, self.error = batch_size, broken, error

    def numbers(self, step: int) -> list[int]:
        return [100 * step + i for i in range(self.batch_size)]

    def passes(self, numbers, step: int) -> list[Batch]:
        if self.broken in numbers:
            raise self.error(f"sample {self.broken} is bad")
        parts = [list(numbers[i : i + 3]) for i in range(0, len(numbers), 3)]
        squares = [{"square": torch.tensor(part) ** 2} for part in parts]
        return [Batch(torch.tensor(p), step, os.getpid(), named) for p, named in zip(parts, squares, strict=True)]


@pytest.fixture(params=["thread", "processes"])
def made(request, monkeypatch):
    """made(objective, steps, rank, world_size): the passes of each step, as beside a CPU or beside a GPU."""
    if request.param == "processes":
        monkeypatch.setattr(loader, "workers_for", lambda device: 2)

    def make(objective, steps: range, rank: int = 0, world_size: int = 1) -> list[list[Batch]]:
        return list(passes_of(objective, steps, CPU, rank, world_size))

    return make


def numbers_of(passes: list[Batch]) -> list[int]:
    return [number for batch in passes for number in batch.numbers.tolist()]


def test_every_sample_of_a_step_comes_once_and_in_order(made):
    objective = Squares()
    found = made(objective, range(4, 12))
    assert [numbers_of(passes) for passes in found] == [objective.numbers(step) for step in range(4, 12)]
    assert all(batch.step == step for step, passes in enumerate(found, 4) for batch in passes)
    assert all((batch.named["square"] == batch.numbers**2).all() for passes in found for batch in passes)


@pytest.mark.parametrize("world_size", [2, 3, 9])
def test_the_processes_have_the_samples_of_one(made, world_size):
    """Also where there are more processes than samples."""
    objective = Squares()
    shares = [made(objective, range(2), rank, world_size) for rank in range(world_size)]
    for step in range(2):
        together = [number for mine in shares for number in numbers_of(mine[step])]
        assert together == objective.numbers(step)
        sizes = [len(numbers_of(mine[step])) for mine in shares]
        assert max(sizes) - min(sizes) <= 1


def test_workers_are_other_processes_and_the_thread_is_not(monkeypatch):
    passes = [batch for step in passes_of(Squares(), range(4), CPU, 0, 1) for batch in step]
    assert {batch.process for batch in passes} == {os.getpid()}
    monkeypatch.setattr(loader, "workers_for", lambda device: 2)
    others = {batch.process for step in passes_of(Squares(), range(4), CPU, 0, 1) for batch in step}
    assert len(others) == 2 and os.getpid() not in others


def test_what_needs_the_model_is_made_beside_it(monkeypatch):
    monkeypatch.setattr(loader, "workers_for", lambda device: 2)
    objective = Squares()
    objective.needs_model = True
    passes = [batch for step in passes_of(objective, range(4), CPU, 0, 1) for batch in step]
    assert {batch.process for batch in passes} == {os.getpid()}


@pytest.mark.parametrize("error", [ValueError, OSError])
def test_what_is_wrong_with_a_sample_is_raised_at_its_step(made, error):
    """In its own words: an error of a loader process usually comes with that one's traceback."""
    with pytest.raises(error) as raised:
        made(Squares(broken=203, error=error), range(4))
    assert str(raised.value) == "sample 203 is bad"
    assert multiprocessing.active_children() == []  # although the error is still known


def test_the_steps_before_an_error_can_be_trained(made, monkeypatch):
    found = []
    with pytest.raises(ValueError, match="sample 203 is bad"):
        for passes in passes_of(Squares(broken=203), range(4), CPU, 0, 1):
            found.append(numbers_of(passes))
    assert len(found) == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_loader_processes_stay_when_the_whole_group_is_told_to_stop(monkeypatch, number):
    """The process that trains finishes its step and saves first."""
    monkeypatch.setattr(loader, "workers_for", lambda device: 2)
    steps = passes_of(Squares(batch_size=8), range(8), CPU, 0, 1)
    found = [next(steps)]
    for process in multiprocessing.active_children():
        os.kill(process.pid, number)
    found += list(steps)
    assert [numbers_of(passes) for passes in found] == [Squares(8).numbers(step) for step in range(8)]
    assert multiprocessing.active_children() == []


def test_our_own_mistakes_are_raised_too(made):
    with pytest.raises(ZeroDivisionError):
        made(Squares(broken=203, error=ZeroDivisionError), range(4))


def test_the_random_state_of_the_network_is_kept(made):
    before = torch.get_rng_state()
    made(Squares(), range(3))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("batch_size", "world_size"), [(1, 1), (16, 1), (17, 1), (512, 3), (100, 8)])
def test_a_piece_has_few_samples(batch_size, world_size):
    """So that several processes work on one step, and none holds all of it."""
    objective = Squares(batch_size)
    for rank in range(world_size):
        pieces = Pieces(objective, range(5, 7), rank, world_size)
        assert len(pieces) == 2 * pieces.count()
        found = [numbers_of(pieces[i]) for i in range(len(pieces))]
        assert max(map(len, found)) <= objective.piece
        expected = [number for step in (5, 6) for number in share(objective.numbers(step), rank, world_size)]
        assert [number for piece in found for number in piece] == expected


def test_no_processes_beside_a_cpu_that_trains():
    assert workers_for(CPU) == 0
    assert 1 <= workers_for(torch.device("cuda")) <= loader.MAX_WORKERS


def test_the_cores_are_shared_by_all_gpus_of_a_machine(monkeypatch):
    """Each of eight GPUs took twelve processes on a machine of sixteen cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(40))
    for gpus, workers in (("1", 12), ("4", 8), ("8", 3), ("40", 1)):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", gpus)
        assert workers_for(torch.device("cuda")) == workers


def test_all_tensors_of_a_batch_are_moved():
    [batch] = Squares(3).passes([1, 2, 3], 0)
    there = to_device(batch, torch.device("meta"))
    assert there.numbers.is_meta and there.named["square"].is_meta
    assert there.step == 0 and there.absent is None
