"""`convert`: a data set in its published layout → JSON lines that training reads, and a mix.yaml that names them.

Notable points:
- One record at a time: memory does not grow with the data set.
- A record that training would refuse is not written; it is in bad.jsonl with the reason, and counted.
- The media stay where they are, or are copied; media that have no file (inside Parquet) are written as files.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from training.data.converters.checks import checked
from training.data.converters.mix import mix_text
from training.data.converters.output import OutputFolder
from training.data.converters.part import Item, Part
from training.data.converters.registry import Layout
from training.data.converters.summary import PartCount, Summary
from training.data.record_error import RecordError
from training.data.record_media import media_of
from training.data.records import Bad

MIX = "mix.yaml"


def convert(layout: Layout, source: Path, out: Path, *, copy: bool = False, progress: bool = True) -> Summary:
    """Converts the data set in the folder `source` into the new folder `out`; says what was found.

    Args:
        copy: whether media files are copied into `out`, instead of named where they are.

    Raises `ValueError` if `source` is not of the layout, has no good record, or `out` is there already.
    """
    source = source.absolute()
    summary = Summary(layout.name, out.absolute())
    with OutputFolder(summary.out) as output:
        parts = layout.parts(source)
        counts = [part.count for part in parts]
        total = None if None in counts else sum(counts)
        with tqdm(total=total, unit=" records", dynamic_ncols=True, disable=not progress) as bar:
            for part in parts:
                bar.set_description(part.name)
                Conversion(part, output, summary, copy, bar).run()
        if not summary.records:
            raise ValueError(f"{source} has no record that can be used; {layout.name} is {layout.about}:\n{summary}")
        (output.folder / MIX).write_text(mix_text(summary), encoding="utf-8")
        output.finish()
    return summary


class Conversion:
    """The conversion of one part."""

    def __init__(self, part: Part, output: OutputFolder, summary: Summary, copy: bool, bar: tqdm) -> None:
        self.part, self.output, self.summary, self.copy, self.bar = part, output, summary, copy, bar
        self.count = PartCount(part)

    def run(self) -> None:
        """Writes the good records, lists the bad ones, counts both."""
        self.summary.parts.append(self.count)
        if self.part.as_it_is is not None:
            for _ in self._good():
                pass
            return
        with self.output.lines(self.part.name) as lines:
            for record in self._good():
                lines.write(json.dumps(record, ensure_ascii=False) + "\n")

    def _good(self) -> Iterator[dict]:
        """The records that can be learned from, their media in place."""
        for found in self.part.items():
            self.bar.update()
            if isinstance(found, Bad):
                self._reject(found)
                continue
            try:
                yield self._accept(found)
            except RecordError as error:
                self._reject(Bad(found.where, name_of(found.record), error.reason, str(error)))

    def _accept(self, item: Item) -> dict:
        record, figures = checked(item, self.part)
        if self.part.as_it_is is None and (self.copy or item.content):
            self.output.place(media_of(record), self.part.media, item.content)
            self.count.own_media = True
        self.count.add(record, figures)
        return record

    def _reject(self, bad: Bad) -> None:
        self.summary.reject(self.count, bad)
        self.output.reject(self.part.name, bad)


def name_of(record: object) -> str:
    return str(record.get("id", "")) if isinstance(record, dict) else ""
