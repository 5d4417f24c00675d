"""A stage, trained to the end of its schedule and written as a checkpoint."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import torch

from parley.checkpoints import save_stage
from training.distributed.process_group import is_main_process, world_size
from training.evaluation.curves import draw_curves
from training.metrics_log import METRICS_FILE
from training.resume_file import RESUME_FILE
from training.run_folder import check_startable, work_folder
from training.stages.build import BuiltStage, build_stage
from training.tensorboard import TensorBoard
from training.trainer import Trainer


def run_stage(
    name: str, run: Path, preset: str, *, seed: int = 0, resume: bool = False, steps: int | None = None, bar: int = 0
) -> None:
    """Trains one stage of the recipe in this process.

    Raises `ValueError` if a stage it builds on is missing, if it is done, or if it was begun before and `resume` is not
    asked for.
    """
    check_startable(run, name, resume)
    train_and_save(build_stage(name, run, preset, seed, steps), run, resume=resume, bar=bar)


def train_and_save(
    built: BuiltStage, run: Path, *, resume: bool, bar: int = 0,
    on_metrics: Callable[[int, dict[str, float]], None] = lambda step, metrics: None,
) -> None:  # fmt: skip
    """Trains a built stage and writes RUN/STAGE. `on_metrics` is called with the step and its metrics."""
    stage, folder = built.stage, work_folder(run, built.stage.name)
    trainer = Trainer(stage, built.schedule, built.model, built.objective, folder, seed=built.seed, bar=bar)
    if resume:
        trainer.resume()
    with TensorBoard(run / "tensorboard" / stage.name) as board:

        def report(step: int, metrics: dict[str, float]) -> None:
            board.write(step, metrics)
            on_metrics(step, metrics)

        measured = trainer.run(report)
    if not is_main_process():
        return
    draw_curves(folder / METRICS_FILE, folder / "curves.png", f"{stage.name} {stage.title}")
    save_checkpoint(built, run, measured | facts(trainer))
    (folder / RESUME_FILE).unlink(missing_ok=True)


def save_checkpoint(built: BuiltStage, run: Path, metrics: dict) -> None:
    stage, parents = built.stage, built.parents
    save_stage(
        run / stage.name, stage=stage.name, config=built.model.config, tokenizer=built.tokenizer,
        parts={part: getattr(built.model, part).state_dict() for part in stage.trains},
        parent=parents[0] if parents else None, others=parents[1:],
        data={"mixture": built.schedule.mixture, "samples": samples_seen(built), "seed": built.seed},
        metrics=metrics, commit=commit(),
    )  # fmt: skip


def facts(trainer: Trainer) -> dict[str, object]:
    """How long the stage was trained, and on what."""
    return {
        "seconds": round(trainer.seconds, 1),
        "steps": trainer.schedule.steps,
        "device": device_name(trainer.device),
    }


def samples_seen(built: BuiltStage) -> dict[str, int]:
    """How many samples of each source the stage has seen."""
    total = built.schedule.steps * built.schedule.batch
    if built.stage.objective == "next_token":
        return built.data.mixture.counts(total)
    return {name: total for name in built.schedule.mixture}


def device_name(device: torch.device) -> str:
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = f"CPU, {torch.get_num_threads()} thread{'s' if torch.get_num_threads() > 1 else ''}"
    return name if world_size() == 1 else f"{world_size()} × {name}"


def commit() -> str:
    """The commit of the code that runs; "" outside a repository."""
    try:
        command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
