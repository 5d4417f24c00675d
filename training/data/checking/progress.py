"""What was found so far, kept in a file, so that a check that was stopped goes on. Arrays and JSON, no pickle."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from dataclasses import asdict, dataclass, field, fields
from hashlib import blake2b
from pathlib import Path

import numpy as np

from training.data.checking.findings import Findings
from training.data.checking.record_check import RecordCheck
from training.data.records import Bad

EVERY = 60.0  # seconds


@dataclass
class Progress:
    """Of one source. The file's name says what was checked and how, so another check never goes on from it.

    `folder` None keeps nothing.
    """

    folder: Path | None
    check: RecordCheck
    saved: float = field(default_factory=time.monotonic)  # when

    def load(self) -> tuple[Findings, int]:
        """What was found, and in how many records."""
        if self.folder is None or not self.file.exists():
            return Findings(), 0
        with np.load(self.file, allow_pickle=False) as kept:
            rest = json.loads(kept["rest"].tobytes())
            found = Findings(**{name: _read(name, value) for name, value in rest["found"].items()})
            for name in _arrays():
                getattr(found, name).frombytes(kept[name].tobytes())
        return found, rest["records"]

    def keep(self, found: Findings, records: int, now: bool = False) -> None:
        """Writes the file if it is older than `EVERY`, or `now`; it is replaced whole."""
        if self.folder is None or (not now and time.monotonic() - self.saved < EVERY):
            return
        rest = {each.name: getattr(found, each.name) for each in fields(found) if each.name not in _arrays()}
        rest["bad"] = [asdict(bad) for bad in found.bad]
        rest["tiles"] = list(found.tiles.items())
        text = json.dumps({"records": records, "found": rest}).encode()
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.file.with_suffix(".part")
        with partial.open("wb") as file:
            np.savez(file, rest=np.frombuffer(text, np.uint8), **{name: getattr(found, name) for name in _arrays()})
        os.replace(partial, self.file)
        self.saved = time.monotonic()

    def forget(self) -> None:
        """Removes the file: files of the data may be mended before the next check."""
        if self.folder is not None:
            self.file.unlink(missing_ok=True)

    @property
    def file(self) -> Path:
        check, length = self.check, self.check.length
        words = length.tokenizer.to_str() if length else ""
        asked = (check.mixed.source.fingerprint, check.mixed.kind, check.longest, check.decode, words)
        key = blake2b(repr((*asked, check.config.model_dump_json())).encode(), digest_size=8).hexdigest()
        return self.folder / f"{check.mixed.name}-{key}.npz"


def _arrays() -> list[str]:
    return [each.name for each in fields(Findings) if each.type == "array"]


def _read(name: str, value):
    """A field of `Findings` as JSON has it."""
    match name:
        case "bad":
            return [Bad(**each) for each in value]
        case "tiles":
            return Counter(dict(map(tuple, value)))
    return Counter(value) if isinstance(value, dict) else value
