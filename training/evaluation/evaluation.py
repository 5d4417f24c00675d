"""What is measured of a checkpoint, in memory and in a file that is written row by row."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from training.evaluation.table import Measure


@dataclass
class Evaluation:
    """The rows of an evaluation so far."""

    weights: str  # fingerprint of the checkpoint
    count: int  # that the numbers of samples follow from
    seeds: tuple[int, ...]
    measured: dict[str, list[dict]] = field(default_factory=dict)  # name of a row → its record and its details'
    derived: list[dict] = field(default_factory=list)  # records that follow from others
    left_out: list[str] = field(default_factory=list)  # lines: what is not installed, and which rows need it

    @property
    def identity(self) -> dict:
        """What a file must agree in to be continued."""
        return {"weights": self.weights, "count": self.count, "seeds": list(self.seeds)}

    @property
    def records(self) -> list[dict]:
        return [record for records in self.measured.values() for record in records]

    def add(self, row: str, measures: Sequence[Measure]) -> None:
        self.measured[row] = [measure.record() for measure in measures]

    def sort(self, names: Sequence[str]) -> None:
        """Puts the rows in the order of their names."""
        self.measured = {name: self.measured[name] for name in names if name in self.measured}

    def content(self) -> dict:
        """As JSON."""
        rows = [{**record, "row": name} for name, records in self.measured.items() for record in records]
        return {**self.identity, "rows": rows + self.derived, "left_out": self.left_out}

    def write(self, file: Path | None) -> None:
        """Replaces the file as a whole; nothing for None."""
        if file is None:
            return
        part = file.with_name(file.name + ".part")
        part.write_text(json.dumps(self.content(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        part.replace(file)

    def take(self, file: Path) -> None:
        """Takes what a file already has. Raises `ValueError` if that is of other weights, another count or seeds."""
        found = json.loads(file.read_text(encoding="utf-8"))
        if other := [name for name, value in self.identity.items() if found.get(name) != value]:
            raise ValueError(f"{file} is of another evaluation ({', '.join(other)} differ): name another file")
        for record in found["rows"]:
            if name := record.pop("row", None):
                self.measured.setdefault(name, []).append(record)
