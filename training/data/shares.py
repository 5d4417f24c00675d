"""How many samples an epoch takes of each source: the recipe's shares of the kinds, times the weights of the mix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from training.data.mix import RECORDS
from training.recipe import Schedule


@dataclass(frozen=True)
class Available:
    """What can be learned from in a source."""

    kind: str
    weight: float
    records: int


def learned_kinds(schedule: Schedule) -> tuple[str, ...]:
    """The kinds of a user's data that a stage learns from."""
    return (*schedule.shares, *schedule.as_many)


def samples_taken(schedule: Schedule, sources: Sequence[Available]) -> list[int]:
    """Samples that an epoch takes of each source; at least one of each that has records and is learned from."""
    taken = [rounded(share_of(schedule, source.kind) * source.weight * source.records) for source in sources]
    for kind, like in schedule.as_many.items():
        wanted = sum(samples for samples, source in zip(taken, sources, strict=True) if source.kind in like)
        there = sum(source.weight * source.records for source in sources if source.kind == kind)
        # Where the mix has none of the others, all of it: the stage would learn nothing else from this kind.
        times = min(1.0, wanted / there) if wanted and there else 1.0
        for number, source in enumerate(sources):
            if source.kind == kind:
                taken[number] = rounded(times * source.weight * source.records)
    return taken


def rounded(samples: float) -> int:
    """Whole samples, at least one of a source that is learned from."""
    return max(1, round(samples)) if samples else 0


def share_of(schedule: Schedule, kind: str) -> float:
    """The share of a kind's records in an epoch. A plain file of records is taken whole."""
    return 1.0 if kind == RECORDS else schedule.shares.get(kind, 0.0)
