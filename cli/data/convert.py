"""`parley data convert`: a data set in its published layout → what training reads, and a mix.yaml that names it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.data.converters.registry import find_layout, listed

LAYOUT_LIST = f"\b\nLayouts:\n{listed()}"

IN_PLACE = """\
These files need no conversion: training reads them where they are. Bad records stay in them: train with --skip-bad.
Parquet is unpacked once into HF_DATASETS_CACHE, which takes as much disk again."""


def convert(
    layout: Annotated[str, typer.Argument(help="Name of the layout; they are listed below")],
    source: Annotated[Path, typer.Argument(help="Folder of the data set, as it was downloaded and unpacked")],
    out: Annotated[Path, typer.Option(help="A folder to make; it gets the records and mix.yaml")],
    copy: Annotated[bool, typer.Option("--copy", help="Copy the media files; the source is not needed then")] = False,
) -> None:
    """Convert a public data set, from the layout in which it is published to records that training reads.

    Speech becomes JSON lines with audio, text, speaker and duration; dialogues become LLaVA/VITA records. Media stay
    where they are unless --copy is given. OUT/mix.yaml names what was written, with its kind: it is what
    `parley train --data` reads. Bad records are left out, counted and listed in OUT/bad.jsonl. The source is not
    changed. OUT appears when all is done; after a kill, run the same command again.
    """
    found = find_layout(layout)
    from training.data.converters import convert as converter

    summary = converter.convert(found, source, out, copy=copy)
    mix = out / converter.MIX
    typer.echo(f"{source}, as {layout}:\n{summary}\n\n{mix.read_text(encoding='utf-8')}")
    if any(count.part.as_it_is is not None for count in summary.parts):
        typer.echo(IN_PLACE)
    typer.echo(f"{mix} names the sources; look at them with: parley data check {mix}")
