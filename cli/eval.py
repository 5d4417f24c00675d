"""`parley eval`: what a model can do on data it never saw."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command("eval")
def evaluate(
    run: Annotated[
        Path | None,
        typer.Argument(
            metavar="FOLDER", help="A checkpoint, or a run (its last stage); default: the shipped checkpoint"
        ),
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the measures to this file too")] = None,
    count: Annotated[int, typer.Option(min=1, help="Held-out samples of each kind")] = 100,
) -> None:
    """Measure a checkpoint on held-out data, and compare with what is asked of it.

    \b
    parley eval                   the shipped nano
    parley eval --count 10        a first look, in a tenth of the time
    parley eval runs/nano/2.2     one stage of a run
    """
    import json

    from training.evaluation.runner import evaluate as measure
    from training.evaluation.runner import find_checkpoint
    from training.evaluation.table import table

    checkpoint = find_checkpoint(run)
    if json_file is not None and not json_file.absolute().parent.is_dir():  # said before the measuring
        raise ValueError(f"--json {json_file}: there is no folder {json_file.parent}")
    measures = measure(checkpoint, count)
    typer.echo(table(measures))
    if json_file is not None:
        json_file.write_text(json.dumps({"rows": measures}, indent=1) + "\n")
