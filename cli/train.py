"""`parley train`: make a model by the recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.errors import CommandError

app = typer.Typer(rich_markup_mode=None, add_completion=False)
HOW = "How it is trained (defaults: the recipe's)"  # panel of the options


@app.command()
def train(
    model: Annotated[str, typer.Argument(help="What to train: a preset of parley/config.py")] = "nano",
    run: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Of the run; default: runs/MODEL")] = None,
    stage: Annotated[
        str | None, typer.Option(metavar="NAME", help="Train this one stage of the recipe, for example 2.1b")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a run that was stopped or killed")] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Stages side by side, or processes of one stage")] = 2,
    start: Annotated[
        Path | None, typer.Option("--from", help="A checkpoint to train further; with --stage, or with --data")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="With --from: your data, mix.yaml or a file of records (docs/data.md)")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the data and of fresh weights")] = 0,
    steps: Annotated[int | None, typer.Option(min=1, help="Optimizer steps a stage", rich_help_panel=HOW)] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over your data", rich_help_panel=HOW)] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Samples a step, over all processes", rich_help_panel=HOW)
    ] = None,
    tokens: Annotated[
        int | None, typer.Option(min=64, help="Tokens of one forward pass, at most", rich_help_panel=HOW)
    ] = None,
    sequence_length: Annotated[
        int | None, typer.Option(min=32, help="Tokens of a sample, at most", rich_help_panel=HOW)
    ] = None,
    lr: Annotated[
        float | None, typer.Option(help="Peak learning rate; parts with one of their own follow", rich_help_panel=HOW)
    ] = None,
    save_every: Annotated[
        int | None, typer.Option(min=1, help="Steps between two saved states", rich_help_panel=HOW)
    ] = None,
    validate_every: Annotated[
        int | None, typer.Option(min=1, help="Steps between two validations", rich_help_panel=HOW)
    ] = None,
    recompute: Annotated[
        bool | None,
        typer.Option(help="Keep few activations and compute them again; default: on a GPU", rich_help_panel=HOW),
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out records of --data that are bad, counted and named")
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="PART", help="With --stage: train this part of it and freeze the others; may be repeated"),
    ] = None,
    lora: Annotated[
        bool,
        typer.Option("--lora", help="Train the language model by LoRA, in 1.2, 1.3 and 2.2", rich_help_panel=HOW),
    ] = False,
    lora_rank: Annotated[int, typer.Option(min=1, help="Width of LoRA's adapters", rich_help_panel=HOW)] = 16,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Compile the networks' blocks (torch.compile)", rich_help_panel=HOW)
    ] = False,
) -> None:
    """Train a model: all stages of the recipe, or one; from nothing, or from a checkpoint.

    \b
    parley train                               all stages of nano, into runs/nano
    parley train --resume                      continue that run
    parley train --steps 20 --run runs/trial   every stage for a few steps: does it work here?
    parley train vita-7b --from BASE --data mix.yaml --run runs/mine             all stages over your data
    parley train --from BASE --data mix.yaml --run runs/mine --stage 1.1         one of them

    The run's folder holds a checkpoint a stage, curves, and report.md. Ctrl-C saves first; --resume continues.
    docs/recipe.md describes the stages, docs/checkpoints.md how to finetune a checkpoint. Under torchrun, one stage is
    trained by all its processes.
    """
    from training.distributed.process_group import is_main_process
    from training.ending import OtherProcessError, StageInterruptionError
    from training.evaluation.report import write_report
    from training.launch.in_order import OrderedRun
    from training.launch.local import processes_of_a_stage, train_stage
    from training.launch.local import train as train_all
    from training.launch.stage_job import StageJob
    from training.lora_options import LoraOptions, adapted
    from training.options import Options
    from training.recipe import find_stage

    check_options(run, stage, start, data, skip_bad, only)
    if lr is not None and lr <= 0:
        raise ValueError(f"--lr {lr}: a learning rate is more than 0")
    if lora and stage is not None:
        adapted(find_stage(stage))  # or says that the stage has no use for it
    folder = run or Path("runs") / model
    options = Options(
        steps=steps, epochs=epochs, batch=batch, tokens=tokens, sequence_length=sequence_length, lr=lr,
        save_every=save_every, validate_every=validate_every, recompute=recompute, compile=compiled, skip_bad=skip_bad,
        only=tuple(only or ()),
        lora=LoraOptions(rank=lora_rank, alpha=2 * lora_rank) if lora else None,
    )  # fmt: skip
    try:
        if stage is None and start is not None:
            OrderedRun(start, data, folder, seed, options, jobs).train_all(resume)
        elif stage is None:
            train_all(model, folder, seed=seed, resume=resume, jobs=jobs, options=options)
        else:
            job = StageJob(
                stage=stage, preset=model, run=folder, seed=seed, options=options, start=start, records=data,
                processes=processes_of_a_stage(on_cpu=1),
            )  # fmt: skip
            train_stage(job, resume=resume)
    except StageInterruptionError as stopped:
        raise CommandError(str(stopped)) from None
    except OtherProcessError:
        raise typer.Exit(1) from None
    if is_main_process():
        typer.echo(f"report: {write_report(folder)}")


def check_options(
    run: Path | None, stage: str | None, start: Path | None, data: Path | None, skip_bad: bool, only: list[str] | None
) -> None:
    """Raises `ValueError` for options that do not go together."""
    if only and stage is None:
        raise ValueError("--only names parts of one stage; name it with --stage")
    if skip_bad and data is None:
        raise ValueError("--skip-bad leaves out records of --data, which is not given")
    if start is not None and run is None:
        raise ValueError("--from needs --run, the folder that the stages are written to")
    if start is not None and stage is None and data is None:
        raise ValueError("--from without --data trains one stage over nano's world: name it with --stage")
    if data is not None and start is None:
        raise ValueError(
            "--data goes with --from: a checkpoint to begin with, for example of `parley init vita-7b --llm DIR "
            "--vision DIR --out BASE`; a model from nothing learns from nano's world"
        )
