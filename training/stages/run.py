"""A stage, trained to the end of its schedule and written as a checkpoint."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from parley.checkpoints.manifest import Manifest
from parley.checkpoints.writer import StageWriter
from training.distributed.activations import plain_name
from training.distributed.precision import best_device
from training.distributed.process_group import any_rank, is_main_process, world_size
from training.distributed.sharding import whole
from training.evaluation.curves import draw_curves
from training.lora import is_adapted, is_adapter, merge
from training.lora_options import LoraOptions
from training.metrics_log import METRICS_FILE
from training.run_folder import IDENTITY_FILE, work_folder
from training.stages.build import BuiltStage
from training.stages.data_table import data_table
from training.stages.user_data import UserData
from training.tensorboard import TensorBoard
from training.trainer import Trainer


def train_and_save(
    built: BuiltStage, run: Path, *, resume: bool, bar: int = 0,
    on_metrics: Callable[[int, dict[str, float]], None] = lambda step, metrics: None,
) -> None:  # fmt: skip
    """Trains a built stage and writes RUN/STAGE."""
    stage, folder = built.stage, work_folder(run, built.stage.name)
    announce(built)
    trainer = Trainer(
        stage, built.schedule, built.objective, folder, device=best_device(), identity=built.identity,
        options=built.options, seed=built.seed, bar=bar,
    )  # fmt: skip
    if resume:
        trainer.resume()
    with TensorBoard(run / "tensorboard" / stage.name) as board:

        def report(step: int, metrics: dict[str, float]) -> None:
            board.write(step, metrics)
            on_metrics(step, metrics)

        measured = trainer.run(report)
    if is_main_process():
        draw_curves(folder / METRICS_FILE, folder / "curves.png", f"{stage.name} {stage.title}")
    save_checkpoint(built, run, measured | facts(trainer))
    any_rank(False, trainer.device)  # all wait for the main process here
    if is_main_process():
        remove_states(folder)
        announce_skipped(built)


def announce(built: BuiltStage) -> None:
    """Says what a stage will learn from, if that is the user's data; of nano's world, what is missing."""
    if is_main_process():
        lines = [data_table(built.data)] if isinstance(built.data, UserData) else built.data.remarks
        for line in lines:
            tqdm.write(line)


def announce_skipped(built: BuiltStage) -> None:
    """Says how many bad records were left out, if any were."""
    if isinstance(built.data, UserData) and (count := built.data.skipped.count()):
        tqdm.write(f"{count:,} bad records were left out; {built.data.skipped.file} names them")


def save_checkpoint(built: BuiltStage, run: Path, metrics: dict) -> None:
    """Writes RUN/STAGE. All processes take part: each holds a share of the weights."""
    if not is_main_process():
        for part in built.stage.trains:
            for _ in whole_tensors(getattr(built.objective.model, part)):
                pass
        return
    stage, parents, config = built.stage, built.parents, built.objective.model.config
    with StageWriter(run / stage.name, parent=parents[0] if parents else None, others=parents[1:]) as writer:
        for part in stage.trains:
            module = getattr(built.objective.model, part)
            if part == "language" and built.options.lora is not None:
                write_merged(writer, built, module, built.options.lora)
            else:
                write_part(writer, part, stage.name, module)
        if built.tokenizer is not None:
            writer.add_tokenizer(built.tokenizer, stage.name)
        finish(writer, built, config, metrics)


def write_part(writer: StageWriter, part: str, stage: str, module: nn.Module) -> None:
    """One tensor at a time is whole."""
    specs = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in stored_tensors(module).items()}
    with writer.tensors(part, stage, specs) as file:
        for name, tensor in whole_tensors(module):
            file.write(name, tensor)


def write_merged(writer: StageWriter, built: BuiltStage, language: nn.Module, options: LoraOptions) -> None:
    """The language model that the stage started from, with what its adapters add."""
    adapters = {name: tensor.cpu() for name, tensor in whole_tensors(language) if is_adapter(name)}
    start = next(parent for parent in built.parents if "language" in parent.parts)
    specs = {
        name: (torch.float32 if is_adapted(name, adapters) else tensor.dtype, tuple(tensor.shape))
        for name, tensor in start.tensors("language")
    }
    with writer.tensors("language", built.stage.name, specs) as file:
        for name, tensor in merge(start.tensors("language"), adapters, options):
            file.write(name, tensor)


def finish(writer: StageWriter, built: BuiltStage, config, metrics: dict) -> Manifest:
    data = {"mixture": built.schedule.mixture, "samples": samples_seen(built), "seed": built.seed}
    data |= {"fingerprint": built.identity["data"]}
    if isinstance(built.data, UserData):
        data |= {"skipped": built.data.skipped.count()}
    return writer.finish(stage=built.stage.name, config=config, data=data, metrics=metrics, commit=commit())


def stored_tensors(module: nn.Module) -> Mapping[str, Tensor]:
    """What a checkpoint keeps of a part, tied weights once."""
    tied = getattr(getattr(module, "config", None), "tie_word_embeddings", False)
    state = {plain_name(name): tensor for name, tensor in module.state_dict().items()}
    return {name: tensor for name, tensor in state.items() if not (tied and name == "lm_head.weight")}


def whole_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a part one after the other, whole; all processes in the same order."""
    for name, tensor in stored_tensors(module).items():
        yield name, whole(tensor)


def remove_states(folder: Path) -> None:
    """Removes the saved states of a stage that is done."""
    for path in folder.glob("step-*"):
        shutil.rmtree(path)
    (folder / IDENTITY_FILE).unlink(missing_ok=True)


def facts(trainer: Trainer) -> dict[str, object]:
    """How long the stage was trained, and on what."""
    return {
        "seconds": round(trainer.seconds, 1),
        "steps": trainer.schedule.steps,
        "device": device_name(trainer.device),
    }


def samples_seen(built: BuiltStage) -> dict[str, int]:
    """How many samples of each source the stage has seen."""
    return built.data.counts(built.schedule.steps * built.schedule.batch)


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
