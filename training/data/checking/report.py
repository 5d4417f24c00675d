"""What `parley data check` says of a source: as text, and as JSON."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import Any

import numpy as np

from training.data.checking.findings import Findings
from training.data.mix import SPEECH

PERCENTILES = (50, 90, 99)


@dataclass(frozen=True)
class SourceReport:
    """Of one source. `longest`: tokens of a record, at most; 0 where they were not counted."""

    name: str
    kind: str
    records: int
    found: Findings
    longest: int = 0

    @property
    def bad(self) -> int:
        return self.found.reasons.total()

    def describe(self) -> dict[str, Any]:
        """For JSON."""
        found = self.found
        return {
            "name": self.name, "kind": self.kind, "records": self.records, "good": found.good, "bad": self.bad,
            "reasons": dict(found.reasons.most_common()), "remarks": dict(found.remarks.most_common()),
            "sets": dict(found.sets.most_common()),
            "answers": found.answers, "refusals": found.refusals, "answers_without_text": found.without_text,
            "media": dict(found.media.most_common()), "groups": distinct(found.groups),
            "tiles": {str(tiles): found.tiles[tiles] for tiles in sorted(found.tiles)},
            "tokens": measured(found.tokens), "sequence_length": self.longest or None,
            "longer": self.longer if self.longest else None, "characters": measured(found.characters),
            "answers_a_record": measured(found.turns), "width": measured(found.widths),
            "height": measured(found.heights), "frames": measured(found.frames), "seconds": measured(found.seconds),
            "bad_records": [
                {"where": bad.where, "reason": bad.reason, "detail": bad.detail} for bad in found.bad
            ],
        }  # fmt: skip

    @property
    def longer(self) -> int:
        """Records that are longer than a sequence."""
        return int(np.count_nonzero(np.frombuffer(self.found.tokens, np.uint32) > self.longest))

    def text(self, show: int) -> str:
        """A line for each thing that is there, and the first `show` bad records."""
        return "\n".join([self._head(), *(f"  {line}" for line in [*self._lines(), *self._bad_lines(show)])])

    def _head(self) -> str:
        found = self.found
        media = ", ".join(f"{count} {kind}" for kind, count in sorted(found.media.items())) or "no media"
        answers = "" if self.kind in SPEECH else f" {found.answers} answers, {found.refusals} of them refusals;"
        return f"{self.name} ({self.kind}): {self.records} records, {found.good} good, {self.bad} bad;{answers} {media}"

    def _lines(self) -> list[str]:
        found = self.found
        lines = [f"{count} records of {self.kind} {what}" for what, count in found.remarks.most_common()]
        if len(found.tokens):
            lines.append(f"tokens a record: {spread(found.tokens)}; {self.longer} longer than {self.longest}")
        lines += [
            f"{what}: {spread(values)}"
            for what, values in (
                ("answers a record", found.turns), ("characters a record", found.characters),
                ("picture width", found.widths), ("picture height", found.heights), ("frames of a video", found.frames),
                ("seconds of sound", found.seconds),
            )
            if len(values)
        ]  # fmt: skip
        if found.tiles:
            lines.append("tiles: " + ", ".join(f"{found.tiles[n]} pictures of {n}" for n in sorted(found.tiles)))
        if len(found.seconds):
            lines.append(f"hours of sound: {np.frombuffer(found.seconds, np.float32).sum(dtype=np.float64) / 3600:.2f}")
        if groups := distinct(found.groups):
            lines.append(f"{'speakers' if self.kind in SPEECH else 'pictures or videos'}: {groups}")
        if len(found.sets) > 1:
            lines.append("sets: " + ", ".join(f"{count} {name}" for name, count in found.sets.most_common(10)))
        return lines

    def _bad_lines(self, show: int) -> list[str]:
        lines = [f"{count} × {reason}" for reason, count in self.found.reasons.most_common()]
        lines += map(str, self.found.bad[:show])
        if (hidden := self.bad - show) > 0:
            lines.append(f"… and {hidden} more; --show {self.bad} prints them, --json FILE lists them")
        return lines


def measured(values: array) -> dict[str, float] | None:
    """Count, mean and percentiles of an array of numbers; None of none."""
    if not len(values):
        return None
    numbers = np.frombuffer(values, values.typecode)
    found = {"count": len(numbers), "mean": float(numbers.mean(dtype=np.float64)), "min": float(numbers.min())}
    found |= {f"p{percent}": float(np.percentile(numbers, percent)) for percent in PERCENTILES}
    return {name: round(value, 3) for name, value in (found | {"max": float(numbers.max())}).items()}


def spread(values: array) -> str:
    """Percentiles in a line."""
    found = measured(values)
    names = ("min", *(f"p{percent}" for percent in PERCENTILES), "max")
    return ", ".join(f"{name} {found[name]:,.{1 if values.typecode == 'f' else 0}f}" for name in names)


def distinct(groups: array) -> int:
    """How many pictures or speakers there are; `group_hash` is 1 where there is none."""
    return int(np.count_nonzero(np.unique(np.frombuffer(groups, np.uint64)) > 1))
