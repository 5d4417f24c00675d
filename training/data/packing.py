"""Samples of different lengths → rows, several samples a row.

Notable points:
- Samples of like length share rows, and rows are no longer than they need to be: in a long row, attention between short
  samples is computed only to be masked away.
- A token sees only tokens of its own sample: the mask is block-diagonal and positions start anew in each sample.
- A label belongs to the position that predicts it, inside its own sample: the last token of a sample predicts nothing.
- A sample longer than a row is an error, never a cut: cutting it would lose labels in silence.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby

import torch
from torch import Tensor

IGNORED = -100  # a position without a label
SHORTEST = 32  # tokens; what is shorter is not told apart
FEWEST_TOKENS = 512  # that are worth a pass of their own


@dataclass(frozen=True)
class Place:
    """Where a sample begins."""

    row: int
    start: int


def place(lengths: list[int], row_length: int) -> tuple[list[Place], int]:
    """Puts samples into rows, longest first, each into the first row with room. Returns their
    places and the number of rows.

    Raises `ValueError` if a sample is longer than a row.
    """
    if max(lengths) > row_length:
        raise ValueError(f"a sample has {max(lengths)} tokens; a row holds {row_length}: raise the stage's `row`")
    free: list[int] = []
    places: list[Place | None] = [None] * len(lengths)
    for number in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        row = next((r for r, room in enumerate(free) if room >= lengths[number]), len(free))
        if row == len(free):
            free.append(row_length)
        places[number] = Place(row, row_length - free[row])
        free[row] -= lengths[number]
    return [p for p in places if p is not None], len(free)


def best_length(lengths: list[int], longest: int) -> int:
    """The row length, up to `longest`, at which rows cost least: their area, and a little for what attention adds."""
    candidates = [*range(min(max(lengths), longest), longest, 16), longest]
    return min(candidates, key=lambda length: place(lengths, length)[1] * length * (1 + length / 400))


@dataclass
class Rows:
    """Packed samples: `labels[r, t]` is the id that position t should predict, `IGNORED` where nothing is learned."""

    ids: Tensor  # int64 [rows, length]; 0 where a vector or nothing stands
    labels: Tensor  # int64 [rows, length]
    positions: Tensor  # int64 [rows, length], from 0 in each sample
    owner: Tensor  # int64 [rows, length], the sample's number; -1 where nothing stands
    places: list[Place]

    def mask(self) -> Tensor:
        """bool [rows, 1, length, length]: may position i see position j? Empty positions see themselves."""
        same = self.owner[:, :, None] == self.owner[:, None, :]
        return same.tril()[:, None]


def pack_alike(samples: list[tuple[list[int], list[int]]], row_length: int) -> list[Rows]:
    """As `pack`, in several packs: the samples of each have lengths with the same next power of two.

    A sample's number stays that in `samples`. Few samples do not make a pack of their own: they join the longer ones.
    """
    lengths = [len(ids) for ids, _ in samples]
    groups: list[list[int]] = []
    for _, alike in groupby(sorted(range(len(samples)), key=lengths.__getitem__), key=lambda i: level(lengths[i])):
        if groups and sum(lengths[i] for i in groups[-1]) < FEWEST_TOKENS:
            groups[-1] += alike
        else:
            groups.append(list(alike))
    packs = []
    for group in groups:
        rows = pack([samples[i] for i in group], row_length)
        number_of = torch.tensor([*group, -1])  # an owner of -1, nobody, stays
        packs.append(replace(rows, owner=number_of[rows.owner]))
    return packs


def level(length: int) -> int:
    """Which power of two, at least `SHORTEST`, is the first that holds `length`."""
    return (max(length, SHORTEST) - 1).bit_length()


def pack(samples: list[tuple[list[int], list[int]]], row_length: int) -> Rows:
    """(ids, labels) of each sample, `labels[t]` being `ids[t]` where it is learned and `IGNORED` elsewhere → rows.

    Rows are at most `row_length` long, and of the length that wastes least. Labels are shifted here, sample by sample.
    """
    lengths = [len(ids) for ids, _ in samples]
    places, rows = place(lengths, best_length(lengths, row_length))
    length = max(p.start + len(ids) for p, (ids, _) in zip(places, samples, strict=True))
    packed = Rows(
        ids=torch.zeros(rows, length, dtype=torch.long),
        labels=torch.full((rows, length), IGNORED),
        positions=torch.zeros(rows, length, dtype=torch.long),
        owner=torch.full((rows, length), -1),
        places=places,
    )
    for number, (p, (ids, labels)) in enumerate(zip(places, samples, strict=True)):
        if len(ids) != len(labels):
            raise ValueError(f"sample {number} has {len(ids)} tokens and {len(labels)} labels")
        here = slice(p.start, p.start + len(ids))
        packed.ids[p.row, here] = torch.tensor(ids)
        packed.labels[p.row, p.start : p.start + len(ids) - 1] = torch.tensor(labels[1:])
        packed.positions[p.row, here] = torch.arange(len(ids))
        packed.owner[p.row, here] = number
    return packed
