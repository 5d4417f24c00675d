"""`parley train`: make a model by the recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.errors import CommandError

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def train(
    model: Annotated[str, typer.Argument(help="What to train: a preset of parley/config.py")] = "nano",
    run: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Of the run; default: runs/MODEL")] = None,
    stage: Annotated[
        str | None, typer.Option(metavar="NAME", help="Train this one stage of the recipe, for example 2.1b")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a run that was stopped or killed")] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Stages that may run side by side")] = 2,
    steps: Annotated[int | None, typer.Option(min=1, help="At most so many steps a stage: a quick trial")] = None,
    start: Annotated[
        Path | None, typer.Option("--from", help="A checkpoint to finetune; needs --stage and --run")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="With --from: a file of LLaVA records to learn from instead of nano's world")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the data and of fresh weights")] = 0,
) -> None:
    """Train a model: all stages of the recipe, or one; from nothing, or from a checkpoint.

    \b
    parley train                               all stages of nano, into runs/nano
    parley train --resume                      continue that run
    parley train --steps 20 --run runs/trial   every stage for a few steps: does it work here?

    The run's folder holds a checkpoint a stage, curves, and report.md. Ctrl-C saves first; --resume continues.
    docs/recipe.md describes the stages, docs/checkpoints.md how to finetune a checkpoint.
    """
    from training.evaluation.report import write_report
    from training.launch.local import train as train_all
    from training.stages.run import run_stage
    from training.trainer import StageInterruptionError

    if start is not None and (stage is None or run is None):
        raise ValueError("--from trains one stage: name it with --stage, and where it goes with --run")
    if data is not None and start is None:
        raise ValueError("--data goes with --from; a model from nothing learns from nano's world")
    folder = run or Path("runs") / model
    try:
        if start is not None:
            from training.stages.finetune import finetune

            finetune(stage, start, folder, records=data, seed=seed, resume=resume, steps=steps)
        elif stage is not None:
            run_stage(stage, folder, model, seed=seed, resume=resume, steps=steps)
        else:
            train_all(model, folder, seed=seed, resume=resume, jobs=jobs, steps=steps)
    except StageInterruptionError as stopped:
        raise CommandError(str(stopped)) from None
    typer.echo(f"report: {write_report(folder)}")
