"""Samples of different lengths → passes: one packed sequence each, with several samples in it.

Notable points:
- A packed sequence has no padding. A token attends only to tokens of its own sample (`training.attention`), and
  positions start at 0 in each sample.
- A label belongs to the position that predicts it, inside its own sample: the last token of a sample predicts nothing.
- Samples of similar length come into one pass, so that what is padded inside it (speech) is padded little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

IGNORED = -100  # a position without a label


@dataclass
class Segments:
    """The samples of a packed sequence.

    Args:
        offsets: int32 [samples + 1], where each begins; the last is the length of the sequence.
        lengths: tokens of each.
    """

    offsets: Tensor
    lengths: tuple[int, ...]

    @classmethod
    def of(cls, lengths: Sequence[int]) -> Segments:
        return cls(torch.tensor([0, *lengths]).cumsum(0).to(torch.int32), tuple(lengths))

    @property
    def longest(self) -> int:
        return max(self.lengths)


def split_by_budget(sizes: Sequence[int], budget: int) -> list[list[int]]:
    """The numbers of the samples of each pass: `sizes` in all at most `budget`, the longest samples first.

    Each sample goes into the first pass with room (first fit). One that is larger than the budget has its own pass.
    """
    passes: list[list[int]] = []
    free: list[int] = []
    for number in sorted(range(len(sizes)), key=lambda i: (-sizes[i], i)):
        place = next((i for i, room in enumerate(free) if room >= sizes[number]), len(free))
        if place == len(free):
            passes.append([])
            free.append(budget)
        passes[place].append(number)
        free[place] -= sizes[number]
    return passes


def split_padded(sizes: Sequence[int], budget: int) -> list[list[int]]:
    """As `split_by_budget`, where each pass is padded to its longest sample: count × longest is at most `budget`."""
    passes: list[list[int]] = []
    for number in sorted(range(len(sizes)), key=lambda i: (-sizes[i], i)):
        if passes and (len(passes[-1]) + 1) * sizes[passes[-1][0]] <= budget:
            passes[-1].append(number)
        else:
            passes.append([number])
    return passes


def shifted(labels: list[int]) -> list[int]:
    """Labels at their own ids → at the positions that predict them."""
    return [*labels[1:], IGNORED]
