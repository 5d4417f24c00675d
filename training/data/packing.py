"""Samples of different lengths → packs of sequences with several samples each.

Notable points:
- Samples of similar length share a pack, and sequences are no longer than needed: in a long one, attention between
  short samples is computed and then masked.
- A token attends only to tokens of its own sample: the mask is block-diagonal and positions start at 0 in each sample.
- A label belongs to the position that predicts it, inside its own sample: the last token of a sample predicts nothing.
- A sample that is longer than a sequence is an error. It is never cut, because that would lose labels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby

import torch
from torch import Tensor

IGNORED = -100  # a position without a label
SHORTEST = 32  # tokens; shorter samples count as of this length
FEWEST_TOKENS = 512  # that are worth a pack of their own

Ids = list[int]


@dataclass(frozen=True)
class Place:
    """Where a sample begins."""

    sequence: int
    start: int


@dataclass
class Pack:
    """Packed samples: `labels[s, t]` is the id that position t should predict, `IGNORED` where nothing is learned."""

    ids: Tensor  # int64 [sequences, length]; 0 where an embedding or nothing stands
    labels: Tensor  # int64 [sequences, length]
    positions: Tensor  # int64 [sequences, length], from 0 in each sample
    owner: Tensor  # int64 [sequences, length], the number of the sample; -1 where there is none
    places: list[Place]

    def mask(self) -> Tensor:
        """bool [sequences, 1, length, length]: whether position i attends to j; empty ones attend to themselves."""
        same = self.owner[:, :, None] == self.owner[:, None, :]
        return same.tril()[:, None]


def pack_by_length(samples: list[tuple[Ids, Ids]], longest: int) -> list[Pack]:
    """As `pack`, in several packs: the samples of each have lengths with the same next power of two.

    A sample keeps its number in `samples`. A few short samples do not make a pack of their own; longer ones join them.
    """
    packs = []
    for group in _groups([len(ids) for ids, _ in samples]):
        packed = pack([samples[i] for i in group], longest)
        number_of = torch.tensor([*group, -1])  # an owner of -1 stays
        packs.append(replace(packed, owner=number_of[packed.owner]))
    return packs


def _groups(lengths: list[int]) -> list[list[int]]:
    """The numbers of the samples that share a pack."""
    groups: list[list[int]] = []
    by_length = sorted(range(len(lengths)), key=lengths.__getitem__)
    for _, alike in groupby(by_length, key=lambda i: next_power_of_two(lengths[i])):
        if groups and sum(lengths[i] for i in groups[-1]) < FEWEST_TOKENS:
            groups[-1] += alike
        else:
            groups.append(list(alike))
    return groups


def next_power_of_two(length: int) -> int:
    """The exponent of the first power of two, at least `SHORTEST`, that is not smaller than `length`."""
    return (max(length, SHORTEST) - 1).bit_length()


def pack(samples: list[tuple[Ids, Ids]], longest: int) -> Pack:
    """(ids, labels) of each sample, `labels[t]` being `ids[t]` where it is learned and `IGNORED` elsewhere → a pack.

    Sequences have at most `longest` tokens, and the length that wastes least. Labels are shifted here, in each sample.
    """
    for number, (ids, labels) in enumerate(samples):
        if len(ids) != len(labels):
            raise ValueError(f"sample {number} has {len(ids)} tokens and {len(labels)} labels")
    lengths = [len(ids) for ids, _ in samples]
    places, sequences = place(lengths, best_length(lengths, longest))
    length = max(p.start + size for p, size in zip(places, lengths, strict=True))
    packed = empty_pack(sequences, length, places)
    for number, (p, (ids, labels)) in enumerate(zip(places, samples, strict=True)):
        here = slice(p.start, p.start + len(ids))
        packed.ids[p.sequence, here] = torch.tensor(ids)
        packed.labels[p.sequence, p.start : p.start + len(ids) - 1] = torch.tensor(labels[1:])
        packed.positions[p.sequence, here] = torch.arange(len(ids))
        packed.owner[p.sequence, here] = number
    return packed


def empty_pack(sequences: int, length: int, places: list[Place]) -> Pack:
    return Pack(
        ids=torch.zeros(sequences, length, dtype=torch.long),
        labels=torch.full((sequences, length), IGNORED),
        positions=torch.zeros(sequences, length, dtype=torch.long),
        owner=torch.full((sequences, length), -1),
        places=places,
    )


def best_length(lengths: list[int], longest: int) -> int:
    """The sequence length, up to `longest`, that costs least: the area of the pack, and a little for attention."""
    candidates = [*range(min(max(lengths), longest), longest, 16), longest]
    return min(candidates, key=lambda length: place(lengths, length)[1] * length * (1 + length / 400))


def place(lengths: list[int], sequence_length: int) -> tuple[list[Place], int]:
    """Puts samples into sequences, longest first, each into the first one with room. Returns their places and the
    number of sequences. Raises `ValueError` if a sample is longer than a sequence."""
    if max(lengths) > sequence_length:
        raise ValueError(
            f"a sample has {max(lengths)} tokens; a sequence holds {sequence_length}: raise the stage's "
            "`sequence_length`"
        )
    free: list[int] = []  # tokens, of each sequence
    places: dict[int, Place] = {}
    for number in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        sequence = next((s for s, room in enumerate(free) if room >= lengths[number]), len(free))
        if sequence == len(free):
            free.append(sequence_length)
        places[number] = Place(sequence, sequence_length - free[sequence])
        free[sequence] -= lengths[number]
    return [places[number] for number in range(len(lengths))], len(free)
