"""Which record each sample of a stage is: exact shares in every epoch, computed and not kept in memory.

Notable points:
- Sample number k is a function of (seed, k). An epoch takes a fixed number of samples of each source, in one shuffled
  order; the next epoch has another order.
- Of a source that an epoch takes in part, each epoch takes other records until all were used. A source that is taken
  twice has every record twice in an epoch.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from training.data.permutation import key_of, permuted, permuted_all

COUNTED_AT_ONCE = 1 << 20  # samples


@dataclass(frozen=True)
class Taken:
    """What an epoch takes of a source."""

    name: str
    records: int  # that can be learned from
    samples: int  # of an epoch; more than `records` if it has each more than once


@dataclass(frozen=True)
class Place:
    """Which record a sample is."""

    epoch: int
    source: int  # index into the sources
    record: int  # among the records of the source that can be learned from


class Epochs:
    """The order of all samples.

    Raises `ValueError` if an epoch takes nothing, or samples of a source without records.
    """

    def __init__(self, sources: Sequence[Taken], seed: int) -> None:
        if empty := [taken.name for taken in sources if taken.samples and not taken.records]:
            raise ValueError(f"no records to learn from in {', '.join(empty)}")
        self.sources, self.seed = tuple(sources), seed
        self._ends = list(accumulate(taken.samples for taken in sources))  # of each source's samples in an epoch
        if not self._ends or not self._ends[-1]:
            raise ValueError("an epoch has no samples")
        self._key = key_of("epoch", seed)
        self._keys = [key_of("source", seed, taken.name) for taken in sources]

    def __len__(self) -> int:
        """Samples of an epoch."""
        return self._ends[-1]

    def __getitem__(self, number: int) -> Place:
        """Which record sample `number` is."""
        epoch, place = divmod(number, len(self))
        place = permuted(place, len(self), self._key, epoch)
        source = bisect_right(self._ends, place)
        taken = self.sources[source]
        # How many samples of this source came before, if each epoch took them in order.
        before = epoch * taken.samples + place - (self._ends[source] - taken.samples)
        turn, place = divmod(before, taken.records)
        return Place(epoch, source, permuted(place, taken.records, self._keys[source], turn))

    def another(self, number: int, attempt: int) -> Place:
        """The record that stands in for that of sample `number`, of the same source; `attempt` counts from 1."""
        place = self[number]
        records = self.sources[place.source].records
        return Place(place.epoch, place.source, key_of("instead", self.seed, number, attempt) % records)

    def source_of(self, number: int) -> str:
        """The name of the source of sample `number`."""
        return self.sources[self[number].source].name

    def counts(self, samples: int) -> dict[str, int]:
        """How many of the first `samples` come from each source."""
        whole, rest = divmod(samples, len(self))
        counts = np.array([whole * taken.samples for taken in self.sources])
        for start in range(0, rest, COUNTED_AT_ONCE):
            places = permuted_all(np.arange(start, min(start + COUNTED_AT_ONCE, rest)), len(self), self._key, whole)
            source = np.searchsorted(self._ends, places, side="right")
            counts += np.bincount(source, minlength=len(counts))
        return {taken.name: int(count) for taken, count in zip(self.sources, counts, strict=True)}
