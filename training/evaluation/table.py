"""The measures of an evaluation, and their table for a terminal."""

from __future__ import annotations

from dataclasses import dataclass


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

    @property
    def ok(self) -> bool | None:
        """Whether the bar is met; None without a bar."""
        if self.bar is None:
            return None
        return self.value <= self.bar if self.at_most else self.value >= self.bar

    def record(self) -> dict:
        """As JSON."""
        rounded = {"value": round(self.value, self.digits + 1), "bar": self.bar, "n": self.n, "ok": self.ok}
        return {"name": self.name, **rounded, "chance": self.chance, "digits": self.digits}


def table(records: list[dict]) -> str:
    """The records of measures as lines of text."""
    width = max(len(record["name"]) for record in records) if records else 0
    lines = [f"{'':{width}}   value     bar  chance      n"]
    for record in records:
        bar = "" if record["bar"] is None else f"{record['bar']:g}"
        chance = "" if record["chance"] is None else f"{record['chance']:.0f}"
        met = {None: "", True: "met", False: "missed"}[record["ok"]]
        value = f"{record['value']:6.{record['digits']}f}"
        lines.append(f"{record['name']:{width}}  {value}  {bar:>6}  {chance:>6}  {record['n']:5}  {met}")
    return "\n".join(lines)
