"""What the trainer knows of a stage's loss: samples by number → passes → sums, each with what it is divided by.

Notable points:
- A loss is a sum over tokens, utterances or clauses, and is divided by their number in the whole step: over all passes
  and all processes. So a step is the same however its samples are spread.
- An objective is the module whose forward pass is sharded: whatever it calls has its weights there and then.
- Which samples a step has, and what they are, are functions of (seed, number) alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Batch = Any  # a dataclass of tensors
Sums = dict[str, Tensor]

PIECE = 8  # samples: with pictures of 13 tiles 250 MB, of which each loader process holds one ahead


@dataclass(frozen=True)
class Term:
    """One sum of a loss."""

    per: str  # what it is divided by: a name of `Objective.counts`
    weight: float = 1.0  # in the loss; 0: only shown


class Objective(nn.Module, ABC):
    """The loss of a stage.

    Attributes:
        model: the parts of `stage.loads`, in attributes of these names.
        terms: the sums that `forward` returns.
        extra: optional module that is trained with the parts and not kept.
        adversary: optional module that is trained against them and not kept; with its own optimizer.
        needs_model: whether `passes` uses the model, which loader processes do not have.
        piece: samples that a loader process prepares at once.
    """

    terms: Mapping[str, Term]
    needs_model = False
    piece = PIECE

    def __init__(self, model: nn.Module, seed: int, batch_size: int) -> None:
        super().__init__()
        self.model, self.seed, self.batch_size = model, seed, batch_size
        self.extra: nn.Module | None = None
        self.adversary: nn.Module | None = None

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def numbers(self, step: int) -> list[int]:
        """The numbers of the samples of a step, over all processes."""
        return list(range(step * self.batch_size, (step + 1) * self.batch_size))

    @abstractmethod
    def passes(self, numbers: Sequence[int], step: int) -> list[Batch]:
        """Batches of these samples, each small enough for one forward pass, on the CPU."""

    @abstractmethod
    def blank(self) -> Batch:
        """A batch that counts nothing: of a process that has fewer passes than another one."""

    @abstractmethod
    def counts(self, batch: Batch) -> dict[str, float]:
        """What the sums of a batch are divided by."""

    @abstractmethod
    def forward(self, batch: Batch, step: int) -> Sums:
        """In training: the sums of `terms`. In inference mode: those that `summary` reads, the same names and shapes
        for any batch."""

    @abstractmethod
    def probe(self, rank: int, world_size: int) -> list[Batch]:
        """A process's share of the held-out batches."""

    @abstractmethod
    def summary(self, sums: Sums) -> dict[str, float]:
        """The figures of a validation from the sums over all held-out batches."""

    def normalise(self, batch: Batch) -> None:
        """Calls the trained parts that have batch norms, each up to these."""

    def finish_step(self) -> None:
        """Called after the optimizers have stepped."""


def share(numbers: Sequence[int], rank: int, world_size: int) -> list[int]:
    """The consecutive part of a process; the parts differ by at most one in length."""
    start, end = (len(numbers) * place // world_size for place in (rank, rank + 1))
    return list(numbers[start:end])
