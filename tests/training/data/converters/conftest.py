"""`converted`: a data set converted as `parley data convert` does it."""

import json
from pathlib import Path

import pytest
import yaml

from training.data.converters.convert import convert
from training.data.converters.registry import find_layout


class Converted:
    """The folder that a conversion wrote."""

    def __init__(self, out: Path, summary) -> None:
        self.out, self.summary = out, summary
        entries = yaml.safe_load((out / "mix.yaml").read_text())["sources"]
        self.sources = {entry["name"].removeprefix(f"{summary.layout}-"): entry for entry in entries}
        bad = out / "bad.jsonl"
        self.bad = [json.loads(line) for line in bad.read_text().splitlines()] if bad.exists() else []

    def lines(self, name: str) -> list[dict]:
        return [json.loads(line) for line in (self.out / f"{name}.jsonl").read_text().splitlines()]

    def opened(self, name: str, reader):
        """A source of mix.yaml, as training opens it."""
        entry = self.sources[name]
        return reader(entry["path"], media=entry.get("media"))


@pytest.fixture
def converted(tmp_path):
    def run(layout: str, source: Path, **options) -> Converted:
        out = tmp_path / "out"
        return Converted(out, convert(find_layout(layout), source, out, progress=False, **options))

    return run
