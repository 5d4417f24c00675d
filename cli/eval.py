"""`parley eval`: what a model can do on data it never saw, of nano's world or the user's own."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from training.evaluation.suites.registry import SUITES, find_suite

WORLD_COUNT = 100  # samples of each kind
SUITE_NAMES = ", ".join(SUITES)

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
    count: Annotated[
        int | None,
        typer.Option(
            min=1, help="Held-out samples of a kind and a seed [default: 100]; records of a suite [default: all]"
        ),
    ] = None,
    rows: Annotated[
        str, typer.Option(metavar="PATTERN", help="Measure rows with this in their name, a regular expression")
    ] = "",
    resume: Annotated[bool, typer.Option("--resume", help="Keep the rows that the --json file has")] = False,
    suite: Annotated[str | None, typer.Option(help="Measure on --data: " + SUITE_NAMES)] = None,
    data: Annotated[Path | None, typer.Option(help="What the suite reads")] = None,
    media: Annotated[Path | None, typer.Option(help="Folder of the media files [default: that of --data]")] = None,
    ask: Annotated[
        str, typer.Option(help="Written after speech, so that the language model transcribes instead of answering")
    ] = "",
) -> None:
    """Measure a checkpoint on held-out data, and compare with what is asked of it; or on your data, with a suite.

    \b
    parley eval                   the shipped nano
    parley eval --count 10        a first look, in a tenth of the time
    parley eval --rows spoken     the rows with "spoken" in their name
    parley eval --json rows.json --resume     continue one that was stopped
    parley eval runs/nano/2.2     one stage of a run
    parley eval runs/my/2.2 --suite librispeech --data LibriSpeech
    """
    import json

    from training.evaluation.runner import find_checkpoint

    checkpoint = find_checkpoint(run)
    if json_file is not None and not json_file.absolute().parent.is_dir():  # said before the measuring
        raise ValueError(f"--json {json_file}: there is no folder {json_file.parent}")
    if suite is None:
        if data is not None or media is not None or ask:
            raise ValueError("--data, --media and --ask are for a --suite: " + SUITE_NAMES)
        if resume and json_file is None:
            raise ValueError("--resume continues the file of --json: name it")
        return measure_world(checkpoint, count or WORLD_COUNT, rows, json_file, resume)
    if rows or resume:
        raise ValueError("--rows and --resume are for nano's world, not for a --suite")
    report = measure_suite(checkpoint, suite, data, media, count, ask)
    if json_file is not None:
        json_file.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def measure_world(checkpoint: Path, count: int, rows: str, json_file: Path | None, resume: bool) -> None:
    """Measures on nano's world, and prints the table and what was left out."""
    from training.evaluation.runner import evaluate
    from training.evaluation.table import table

    evaluation = evaluate(checkpoint, count, rows, json_file, resume)
    typer.echo(table(evaluation["rows"]))
    for line in evaluation["left_out"]:
        typer.echo(line, err=True)


def measure_suite(folder: Path, name: str, data: Path | None, media: Path | None, count: int | None, ask: str) -> dict:
    """Measures on a user's data, and prints table, published figure and what was left out."""
    from parley.checkpoints import Checkpoint
    from training.evaluation.suites.suite import SuiteRun
    from training.evaluation.table import table

    suite = find_suite(name)
    if data is None:
        raise ValueError(f"--suite {name} ({suite.summary}) needs --data: {suite.data}")
    if not data.exists():
        raise ValueError(f"--data {data}: there is no such file or folder")
    run = SuiteRun(Checkpoint.open(folder), data, media, count, ask)
    rows = [measure.record() for measure in suite.measure(run)]
    typer.echo(table(rows))
    if suite.published:
        typer.echo(f"VITA-1.5, as published: {suite.published}")
    if run.left_out.count:
        shown = "".join(f"\n  {line}" for line in run.left_out.first)
        typer.echo(f"{run.left_out.count} records could not be measured:{shown}", err=True)
    return {"suite": name, "data": str(data), "rows": rows, "left_out": asdict(run.left_out)}
