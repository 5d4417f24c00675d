"""Rows of a fault test, kept in a file so that they can be measured one by one."""

from __future__ import annotations

import json
from pathlib import Path


class Results:
    """`facts`: what was added, with the rows as `rows`. `key`: the columns that name a row."""

    def __init__(self, path: Path, key: tuple[str, ...]):
        self.path, self.key = path, key
        self.facts: dict = json.loads(path.read_text()) if path.exists() else {"rows": []}

    def add(self, **facts) -> None:
        self.facts.update(facts)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(self.facts, indent=1) + "\n")

    def add_row(self, new: dict) -> None:
        """In the place of an earlier one."""

        def same(old: dict) -> bool:
            return all(old[name] == new[name] for name in self.key)

        self.add(rows=[*(old for old in self.facts["rows"] if not same(old)), new])
