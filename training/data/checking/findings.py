"""What was found in records: counts, a number or two for each record, the first bad ones. Adds up over processes."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field, fields
from typing import Any

from training.data.records import Bad

LISTED = 10_000  # bad records that are kept by name


def of(typecode: str) -> Any:
    return lambda: array(typecode)


@dataclass
class Findings:
    """Of some records of one source. About 60 bytes a record in memory."""

    good: int = 0
    answers: int = 0
    refusals: int = 0
    without_text: int = 0  # answers
    bad: list[Bad] = field(default_factory=list)  # the first `LISTED`
    reasons: Counter = field(default_factory=Counter)  # of all bad ones
    remarks: Counter = field(default_factory=Counter)  # what is not as the kind of the source says → records
    sets: Counter = field(default_factory=Counter)
    media: Counter = field(default_factory=Counter)  # kind → files
    tiles: Counter = field(default_factory=Counter)  # tiles of a picture, thumbnail included → pictures
    turns: array = field(default_factory=of("I"))  # answers of each record
    tokens: array = field(default_factory=of("I"))  # of each record, where they are counted
    characters: array = field(default_factory=of("I"))  # of the text of each record
    widths: array = field(default_factory=of("I"))  # of each picture, pixels
    heights: array = field(default_factory=of("I"))
    frames: array = field(default_factory=of("I"))  # of each video
    seconds: array = field(default_factory=of("f"))  # of each piece of sound
    indices: array = field(default_factory=of("I"))  # of each good record
    hashes: array = field(default_factory=of("Q"))  # of what each good record says
    groups: array = field(default_factory=of("Q"))  # hashes of pictures or speakers, of each good record

    def add_bad(self, bad: Bad) -> None:
        self.reasons[bad.reason] += 1
        if len(self.bad) < LISTED:
            self.bad.append(bad)

    def merge(self, other: Findings) -> None:
        """Adds what was found in the records that follow."""
        for each in fields(self):
            mine, theirs = getattr(self, each.name), getattr(other, each.name)
            match mine:
                case Counter():
                    mine.update(theirs)
                case int():
                    setattr(self, each.name, mine + theirs)
                case _:
                    mine.extend(theirs)
        del self.bad[LISTED:]
