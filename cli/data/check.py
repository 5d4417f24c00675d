"""`parley data check`: count good and bad records in LLaVA/VITA format, and say what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

SHOWN = 20  # bad records printed in full


def check(
    file: Annotated[Path, typer.Argument(help="A JSON list or JSON lines of LLaVA/VITA records")],
    media: Annotated[Path | None, typer.Option(help="Folder of the media files [default: the file's own]")] = None,
    skip_files: Annotated[bool, typer.Option("--skip-files", help="Do not look for the media files")] = False,
    show: Annotated[int, typer.Option(min=0, help="How many bad records to print")] = SHOWN,
) -> None:
    """Count the good and the bad records of a file and say what is wrong with each bad one; exit 1 if any is."""
    from training.data.records import read_records

    _, report = read_records(file, media, need_files=not skip_files)
    hidden = len(report.bad) - show
    lines = str(report).splitlines()
    typer.echo("\n".join(lines[: len(lines) - max(0, hidden)]))
    if hidden > 0:
        typer.echo(f"  … and {hidden} more; --show {len(report.bad)} prints all")
    if report.bad:
        raise typer.Exit(1)
