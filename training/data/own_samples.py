"""A user's records as samples by number: which record, read and decoded; another one where it is bad."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from training.data.epochs import Epochs
from training.data.mix import MixSource
from training.data.sample import Sample
from training.data.skipped import Skipped

ATTEMPTS = 100  # records tried for one sample, at most


@dataclass(frozen=True)
class Records:
    """Some records of a source, and how they are read."""

    mixed: MixSource
    chosen: np.ndarray  # uint32 [records], numbers in the source
    read: Callable[[MixSource, int], Sample]  # raises `ValueError` for a bad one

    def where(self, record: int) -> str:
        return self.mixed.source.where(int(self.chosen[record]))

    def group(self, record: int) -> str:
        return self.mixed.source.group(int(self.chosen[record]))

    def __getitem__(self, record: int) -> Sample:
        return self.read(self.mixed, int(self.chosen[record]))


class OwnSamples:
    """What a stage learns from. Sample `number` is a function of (seed, number).

    Args:
        records: of each source of `epochs`.
        skipped: is told of bad records.
    """

    def __init__(self, records: Sequence[Records], epochs: Epochs, skipped: Skipped) -> None:
        self.records, self.epochs, self.skipped = records, epochs, skipped
        self._bad: set[tuple[int, int]] = set()  # (source, record), met by this process

    def __getitem__(self, number: int) -> Sample:
        """Raises `ValueError` for a bad record that may not be skipped."""
        for source, record in self._candidates(number):
            try:
                return self.records[source][record]
            except ValueError as error:
                mixed = self.records[source].mixed
                self.skipped.add(mixed.name, self.records[source].where(record), error)
                self._bad.add((source, record))
        raise ValueError(
            f"{ATTEMPTS} records in a row cannot be learned from, the last {self.where(number)}; all are named in "
            f"{self.skipped.file}"
        )

    def where(self, number: int) -> str:
        """Where the record of sample `number` is."""
        source, record = self._taken(number)
        return self.records[source].where(record)

    def group(self, number: int) -> str:
        """The picture or the speaker of sample `number`."""
        source, record = self._taken(number)
        return self.records[source].group(record)

    def source_of(self, number: int) -> str:
        """The name of its source."""
        return self.epochs.source_of(number)

    def counts(self, samples: int) -> dict[str, int]:
        """How many of the first `samples` come from each source."""
        return self.epochs.counts(samples)

    def _candidates(self, number: int) -> Iterator[tuple[int, int]]:
        """(source, record) of a sample, and of those that stand in for it, in order."""
        yield self._at(number)
        for attempt in range(1, ATTEMPTS):
            place = self.epochs.another(number, attempt)
            yield place.source, place.record

    def _taken(self, number: int) -> tuple[int, int]:
        """(source, record) of a sample, as far as this process knows which records are bad."""
        return next((place for place in self._candidates(number) if place not in self._bad), self._at(number))

    def _at(self, number: int) -> tuple[int, int]:
        place = self.epochs[number]
        return place.source, place.record


class HeldOutSamples(Sequence[Sample]):
    """About `size` held-out records of each kind, from everywhere in its sources; decoded when they are asked for."""

    def __init__(self, records: Sequence[Records], size: int, skipped: Skipped) -> None:
        kinds = Counter(one.mixed.kind for one in records)
        self._places = [
            (one, record)
            for one in records
            for record in spread(len(one.chosen), -(-size // kinds[one.mixed.kind]))
            if self._is_good(one, record, skipped)
        ]

    @staticmethod
    def _is_good(records: Records, record: int, skipped: Skipped) -> bool:
        try:
            records[record]
        except ValueError as error:
            skipped.add(records.mixed.name, records.where(record), error)
            return False
        return True

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...
    def __getitem__(self, index):
        if isinstance(index, slice):
            return [records[record] for records, record in self._places[index]]
        records, record = self._places[index]
        return records[record]


def spread(length: int, count: int) -> list[int]:
    """At most `count` places of range(length), evenly spaced."""
    count = min(length, count)
    return [place * length // count for place in range(count)]
