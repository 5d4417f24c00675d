"""What a conversion found and wrote, in figures and in words."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from training.data.converters.part import Part
from training.data.records import Bad

SHOWN = 20  # bad records that are kept to be shown; the file has all


@dataclass
class PartCount:
    """The figures of one part."""

    part: Part
    records: int = 0
    figures: Counter = field(default_factory=Counter)  # image, video, audio: files; "seconds"; sample rate in Hz: files
    speakers: set[str] = field(default_factory=set)
    bad: int = 0
    own_media: bool = False  # whether the media were written beside the records

    def add(self, record: dict, figures: Counter) -> None:
        """Counts a good record."""
        self.records += 1
        self.figures.update(figures)
        if record.get("speaker"):
            self.speakers.add(record["speaker"])

    @property
    def has_media(self) -> bool:
        return any(self.figures[kind] for kind in ("image", "video", "audio"))

    @property
    def kind(self) -> str:
        """Of the source in mix.yaml. Dialogues in which no media were found are text."""
        return self.part.kind if self.has_media else "text"

    def __str__(self) -> str:
        told = [f"{self.records:,} records"]
        told += [f"{self.figures[kind]:,} {kind}s" for kind in ("image", "video") if self.figures[kind]]
        if self.figures["seconds"]:
            told += [f"{self.figures['seconds'] / 3600:,.2f} hours", f"{len(self.speakers):,} speakers"]
        rates = sorted(rate for rate in self.figures if isinstance(rate, int))
        told += [" and ".join(f"{rate / 1000:g} kHz" for rate in rates)] if rates else []
        return ", ".join([*told, f"{self.bad:,} bad"])


@dataclass
class Summary:
    """The figures of all parts, and the first bad records."""

    layout: str  # its name
    out: Path
    parts: list[PartCount] = field(default_factory=list)
    reasons: Counter = field(default_factory=Counter)
    bad: list[Bad] = field(default_factory=list)

    @property
    def records(self) -> int:
        return sum(count.records for count in self.parts)

    def reject(self, count: PartCount, bad: Bad) -> None:
        count.bad += 1
        self.reasons[bad.reason] += 1
        if len(self.bad) < SHOWN:
            self.bad.append(bad)

    def __str__(self) -> str:
        """A line for each part, for each reason, and for the first bad records."""
        lines = [f"  {count.part.name} ({count.kind}, {count.part.split}): {count}" for count in self.parts]
        lines += [f"  {number:,} × {reason}" for reason, number in self.reasons.most_common()]
        lines += [f"    {bad}" for bad in self.bad]
        hidden = self.reasons.total() - len(self.bad)
        return "\n".join(lines + ([f"    … and {hidden:,} more in bad.jsonl"] if hidden else []))
