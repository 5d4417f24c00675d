"""The records that a suite measures, one after the other, with a progress bar: all or some. Bad ones are counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from tqdm import tqdm

from training.data.source import Source
from training.evaluation.suites.suite import LeftOut

Item = TypeVar("Item")
Result = TypeVar("Result")


def results(
    source: Source[Item], count: int | None, measure: Callable[[Item], Result], title: str, left_out: LeftOut
) -> Iterator[Result]:
    """What `measure` finds in the records of a source: in all, or in `count` of them.

    A record that raises `ValueError` goes to `left_out`. Raises `ValueError` if all do, or if there is none.
    """
    measured, failed = 0, LeftOut()
    for index in tqdm(chosen(len(source), count), desc=title, unit="record", mininterval=1.0, dynamic_ncols=True):
        try:
            found = measure(source[index])
        except ValueError as error:
            failed.add(source.where(index), error)
            left_out.add(source.where(index), error)
            continue
        measured += 1
        yield found
    if not measured:
        reason = f"; the first, {failed.first[0]}" if failed.first else ""
        raise ValueError(f"{title}: none of {len(source)} records can be measured{reason}")


def chosen(size: int, count: int | None) -> list[int] | range:
    """`count` of `size` indices at even distances, so that all of a source is looked at; all for None."""
    if count is None or count >= size:
        return range(size)
    return [number * size // count for number in range(count)]
