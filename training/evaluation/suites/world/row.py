"""A row of the evaluation: how it is measured under one seed, and what that needs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TypeVar

from parley.models.parley import Parley
from training.data.sample import Sample
from training.evaluation.suites.answers import Asked
from training.evaluation.table import Measure

# Parts of a checkpoint.
SEES = frozenset({"vision_encoder", "vision_adapter", "language"})
HEARS = frozenset({"speech_adapter", "state_head", "language"})
TRANSCRIBES = frozenset({"ctc_head"})

# (seed, count) → samples, texts or utterances. `count` is what the user asks for: samples of each kind of question; the
# numbers of other samples follow from it.
Item = TypeVar("Item")
Items = Callable[[int, int], Iterable[Item]]
Sampled = Items[Sample]

RIGHT = attrgetter("right")
SERVED = attrgetter("served")
RIGHT_STATES = attrgetter("right_states")


def unchanged(measures: list[Measure]) -> list[Measure]:
    return measures


def nothing() -> str:
    return ""


@dataclass(frozen=True)
class Row:
    """A row, and its details below it."""

    name: str
    needs: frozenset[str]  # parts of a checkpoint
    measure: Callable[[Parley, int, int], list[Measure]]  # (model, seed, count) → the row and its details of that seed
    seconds: float  # of one seed, about, with `nano` on one core and `count` 100: for the time that is left
    finish: Callable[[list[Measure]], list[Measure]] = unchanged  # of the means over the seeds
    lacks: Callable[[], str] = nothing  # what it needs and is not installed, and how it is; "" if all is there


def asked_row(
    name: str, samples: Sampled, bar: float, needs: frozenset[str], seconds: float, *,
    found: Callable[[Asked], list[bool]] = SERVED, chance: float | None = None, lacks: Callable[[], str] = nothing,
) -> Row:  # fmt: skip
    """The percent of samples of which something is found, by default that a right answer is given."""

    def measure(model: Parley, seed: int, count: int) -> list[Measure]:
        asked = Asked.of(model, list(samples(seed, count)))
        return asked.row(name, found(asked), bar, chance)

    return Row(name, needs, measure, seconds, lacks=lacks)


def two_thirds(items: Items[Item]) -> Items[Item]:
    """Two thirds of as many: three seeds have twice `count` of them."""
    return lambda seed, count: items(seed, math.ceil(2 * count / 3))


def third(items: Items[Item]) -> Items[Item]:
    """A third of as many: three seeds have `count` of them."""
    return lambda seed, count: items(seed, math.ceil(count / 3))


def several(conditions: Mapping[str, Sampled]) -> Sampled:
    """Samples of several conditions, about `count` in all and as many of each, with its name in `about`."""

    def samples(seed: int, count: int) -> Iterator[Sample]:
        for name, some in conditions.items():
            for sample in some(seed, math.ceil(count / len(conditions))):
                yield replace(sample, about=sample.about | {"condition": name})

    return samples
