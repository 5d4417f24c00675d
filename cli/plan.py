"""`parley plan`: what training a model needs, before it begins."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import CommandError

if TYPE_CHECKING:
    from parley.config import ParleyConfig
    from training.recipe import Schedule, Stage

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def plan(
    model: Annotated[str, typer.Argument(help="A preset of parley/config.py, or a checkpoint's folder")],
    gpus: Annotated[int, typer.Option(min=1, help="How many GPUs")] = 1,
    gpu_memory: Annotated[float, typer.Option(metavar="GB", help="Of each GPU")] = 80.0,
    stage: Annotated[str | None, typer.Option(metavar="NAME", help="This one stage of the recipe")] = None,
    lora: Annotated[bool, typer.Option("--lora", help="Train the language model by LoRA, in 1.2, 1.3 and 2.2")] = False,
    lora_rank: Annotated[int, typer.Option(min=1, help="Width of LoRA's adapters")] = 16,
    tokens: Annotated[int | None, typer.Option(min=64, help="Of a forward pass, at most; default: recipe")] = None,
    sequence_length: Annotated[
        int | None, typer.Option(min=32, help="Tokens of a sample, at most; default: recipe")
    ] = None,
    samples: Annotated[
        float, typer.Option(min=0, help="Dialogues that a stage sees; default: all of the paper's")
    ] = 22.13e6,
    data: Annotated[
        Path | None, typer.Option(help="mix.yaml instead of --samples: the recipe's shares of your dialogues")
    ] = None,
    sample_tokens: Annotated[float, typer.Option(min=1, help="Of a dialogue; 2560: a picture of ten tiles")] = 2560,
    hours: Annotated[
        float | None, typer.Option(min=0, help="Of speech that a stage sees; default: the paper's 11000, 3000 in 3.x")
    ] = None,
    peak: Annotated[
        float, typer.Option(metavar="TFLOP/S", help="Of a GPU in bf16; 989: the data sheet of an H100 SXM")
    ] = 989.0,
    utilisation: Annotated[float, typer.Option(min=0.01, max=1, help="Share of the peak that training reaches")] = 0.4,
    tokens_per_second: Annotated[
        float | None, typer.Option(min=0, help="Of a GPU, as measured, instead of peak and utilisation; needs --stage")
    ] = None,
) -> None:
    """Say what each stage needs of a GPU's memory and of the disk, and how long it takes; refuse what cannot fit.

    \b
    parley plan vita-7b --gpus 8
    parley plan vita-7b --gpu-memory 24 --stage 1.3 --lora --tokens 1024 --sequence-length 1024
    parley plan checkpoints/mine --gpus 2 --data mix.yaml

    Sizes are GB, 10^9 bytes. It ends with 1 if a stage does not fit. docs/planning.md says what is counted.
    """
    from training.data.mix import read_mix
    from training.lora_options import LoraOptions, adapted
    from training.resources.amount import Amount
    from training.resources.estimate import Cluster, Planner, refusal
    from training.resources.report import heading, table

    if tokens_per_second and stage is None:
        raise ValueError("--tokens-per-second was measured in one stage: name it with --stage")
    config = _config(model)
    schedules = _schedules(stage, tokens, sequence_length)
    if lora and stage is not None:
        adapted(schedules[0][0])  # or says that the stage has no use for it
    planner = Planner.of(config, LoraOptions(rank=lora_rank, alpha=2 * lora_rank) if lora else None)
    cluster = Cluster(gpus=gpus, gpu_memory=gpu_memory, peak=peak, utilisation=utilisation, measured=tokens_per_second)
    amount = Amount(samples=samples, sample_tokens=sample_tokens, hours=hours)
    mix = None if data is None else read_mix(data)
    typer.echo(heading(planner, cluster, amount, data))
    estimates = [
        planner.estimate(each, schedule, cluster, amount if mix is None else amount.of_mix(mix, schedule))
        for each, schedule in schedules
    ]
    typer.echo(table(estimates, cluster))
    refused = [
        refusal(planner, estimate, schedule, cluster)
        for estimate, (_, schedule) in zip(estimates, schedules, strict=True)
    ]
    if lines := [line for line in refused if line]:
        raise CommandError("\nparley: ".join(lines))


def _config(model: str) -> ParleyConfig:
    """The config of a preset or a checkpoint. Raises `ValueError` for nano."""
    from parley.checkpoints import Checkpoint
    from parley.config import preset
    from training.recipe import column_for

    lineage: list[str] = []
    if Path(model).is_dir():
        checkpoint = Checkpoint.open(model)
        config, lineage = checkpoint.config, checkpoint.manifest.lineage
    else:
        config = preset(model)
    if column_for(config.name, lineage) == "nano":
        raise ValueError("nano trains on two CPU cores in two hours; here it is planned what needs GPUs")
    return config


def _schedules(stage: str | None, tokens: int | None, sequence_length: int | None) -> list[tuple[Stage, Schedule]]:
    """The stages asked for, with their schedules for the user's data."""
    from training.recipe import STAGES, find_stage

    asked = {"tokens": tokens, "sequence_length": sequence_length}
    changed = {name: value for name, value in asked.items() if value is not None}
    stages = STAGES if stage is None else (find_stage(stage),)
    schedules = [(each, replace(each.full, **changed)) for each in stages if each.full is not None]
    if not schedules:
        raise ValueError(f"stage {stage} belongs to nano only, which needs no GPU")
    return schedules
