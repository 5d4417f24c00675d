"""The measures of an evaluation, and their table for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass
class Measure:
    """One figure of an evaluation, in percent unless its name says otherwise."""

    name: str
    value: float
    n: int  # samples
    bar: float | None = None  # what is asked of a model
    at_most: bool = False  # whether the bar is an upper one
    chance: float | None = None  # what guessing gives
    digits: int = 1  # after the point, in a table
    by_seed: tuple[float, ...] = ()  # the values of which this one is the mean
    empty: int | None = None  # answers without a word among the samples; None where nothing is answered

    @property
    def ok(self) -> bool | None:
        """Whether the bar is met; None without a bar."""
        if self.bar is None:
            return None
        return self.value <= self.bar if self.at_most else self.value >= self.bar

    @property
    def spread(self) -> float | None:
        """Half of the range over seeds; None of one seed."""
        return (max(self.by_seed) - min(self.by_seed)) / 2 if len(self.by_seed) > 1 else None

    def record(self) -> dict:
        """As JSON."""
        digits = self.digits + 1
        spread = None if self.spread is None else round(self.spread, digits)
        return {
            "name": self.name, "value": round(self.value, digits), "spread": spread, "bar": self.bar,
            "at_most": self.at_most, "ok": self.ok, "n": self.n, "chance": self.chance, "digits": self.digits,
            "by_seed": [round(value, digits) for value in self.by_seed], "empty": self.empty,
        }  # fmt: skip


def over_seeds(measured: Sequence[Sequence[Measure]]) -> list[Measure]:
    """Each measure as its mean over the seeds that have it; `n` and `empty` are sums.

    What the first seed lacks stands behind what it stands behind under the other.
    """
    order: list[str] = []
    named: dict[str, list[Measure]] = {}
    for measures in measured:
        place = 0
        for measure in measures:
            if measure.name not in named:
                order.insert(place, measure.name)
            named.setdefault(measure.name, []).append(measure)
            place = order.index(measure.name) + 1
    return [mean_of(named[name]) for name in order]


def mean_of(measures: Sequence[Measure]) -> Measure:
    """One measure under several seeds as their mean."""
    values = tuple(measure.value for measure in measures)
    empty = [measure.empty for measure in measures if measure.empty is not None]
    return replace(
        measures[0], value=sum(values) / len(values), by_seed=values, n=sum(measure.n for measure in measures),
        empty=sum(empty) if empty else None,
    )  # fmt: skip


def table(records: list[dict]) -> str:
    """The records of measures as lines of text."""
    width = max(len(record["name"]) for record in records) if records else 0
    lines = [f"{'':{width}}   value           bar  chance      n"]
    for record in records:
        bar = "" if record["bar"] is None else f"{record['bar']:g}"
        chance = "" if record["chance"] is None else f"{record['chance']:.0f}"
        met = {None: "", True: "met", False: "missed"}[record["ok"]]
        value = f"{record['value']:6.{record['digits']}f} {spread_of(record):7}"
        lines.append(f"{record['name']:{width}}  {value}  {bar:>6}  {chance:>6}  {record['n']:5}  {met}")
    return "\n".join(lines)


def spread_of(record: dict) -> str:
    """For example "± 0.5"; "" for a record without a spread."""
    spread = record.get("spread")
    return "" if spread is None else f"± {spread:.{record.get('digits', 1)}f}"
