"""Any stage of the recipe from any checkpoint: imported, initialised, shipped or of a run of one's own.

Notable points:
- The checkpoint decides the sizes; what it has is trained on, and only what it lacks starts fresh.
- A model without a part (an imported one has no CTC head and tells its state with tokens) skips what the stage would
  do with it; a stage that is about nothing else is refused.
- Numbers are the recipe's: at full size the paper's, over a file of records; on nano's world those of nano.
"""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path

import torch

from parley.checkpoints import Checkpoint
from parley.checkpoints.importers.qwen_internvit import STAGE as INITIALISED
from parley.checkpoints.loading import load_into
from parley.config import ParleyConfig
from parley.models.parley import Parley, parts_of
from training.data.recorded import RecordedData
from training.data.world import World
from training.distributed.precision import best_device
from training.launch.local import build_objective, calm_parts, complete, is_done, shortened, work_folder
from training.recipe import Schedule, Stage, stage
from training.stages.world_data import StageData
from training.trainer import RESUME_FILE

SENSE = {"image": "vision_encoder", "video": "vision_encoder", "audio": "speech_encoder"}  # what takes in which media


def train_on(
    name: str, start: Path, run: Path, *, records: Path | None = None, seed: int = 0, resume: bool = False,
    steps: int | None = None,
) -> None:  # fmt: skip
    """Trains stage `name` from the checkpoint `start` and writes RUN/STAGE.

    `records`: a file of LLaVA/VITA records to learn from; None for nano's world. Raises `ValueError` if the stage
    cannot be done with this model or these data, or was done or begun before.
    """
    checkpoint = Checkpoint.open(start)
    manifest = checkpoint.manifest
    row = fitted(stage(name), manifest.config)
    if is_done(run, name):
        raise ValueError(f"{run / name} is there already; another --run starts anew")
    if not resume and (work_folder(run, name) / RESUME_FILE).exists():
        raise ValueError(f"stage {name} was begun in {run}; --resume continues it, another --run starts anew")
    if records is not None and row.objective != "next_token":
        raise ValueError(
            f"stage {name} does not learn from dialogues; only nano's world has data for it: leave --data out"
        )
    tokenizer = checkpoint.tokenizer()
    if tokenizer is None and row.objective in ("next_token", "speech_decoder"):
        raise ValueError(f"{start} has no tokenizer: stage {name} cannot read words")
    numbers = schedule_from(row, manifest.config, on_records=records is not None)
    if records is None:
        numbers = shortened(numbers, steps)
        data = StageData(row, numbers, seed, tokenizer)
    else:
        data = RecordedData(records, numbers, manifest.config, tokenizer, seed)
        if blind := [kind for kind in data.media if SENSE[kind] not in row.loads]:
            raise ValueError(f"{records} has records with {', '.join(blind)}, which stage {name} does not take in")
        numbers = data.schedule = shortened(data.schedule, steps)
    model = load_for(row, checkpoint, seed)
    fresh = [part for part in row.trains if part not in manifest.parts or manifest.parts[part].stage == INITIALISED]
    if {"vision_adapter", "speech_adapter"} & set(fresh):
        world = World(seed, "train")
        calm_parts(model, fresh, [world.picture(i)[1] for i in range(16)])
    objective = build_objective(row, numbers, model.to(best_device()), data, seed)
    complete(
        row, numbers, model, objective, run, data=data, tokenizer=None, parents=[start], seed=seed, resume=resume
    )  # fmt: skip


def fitted(row: Stage, config: ParleyConfig) -> Stage:
    """The stage as a model of this config can do it. Raises `ValueError` if it cannot."""
    there = parts_of(config)
    trains = tuple(part for part in row.trains if part in there)
    if row.objective == "ctc" and "ctc_head" not in trains:
        raise ValueError(f"stage {row.name} trains the CTC head, which {config.name} does not have")
    reads = tuple(part for part in row.reads if part in there)
    return replace(row, trains=trains, reads=reads, state=row.state and "state_head" in trains)


def schedule_from(row: Stage, config: ParleyConfig, on_records: bool) -> Schedule:
    """The stage's numbers; samples as long as the model can read."""
    numbers = row.full if on_records and row.full is not None and config.name != "nano" else row.nano
    longest = min(Schedule.row, config.language.max_position_embeddings)
    return replace(numbers, row=longest)


def load_for(row: Stage, checkpoint: Checkpoint, seed: int) -> Parley:
    """The parts the stage needs, in full precision: the checkpoint's, and fresh ones to train where it has none."""
    torch.manual_seed(zlib.crc32(f"{seed} {row.name}".encode()))
    if missing := [part for part in row.reads if part not in checkpoint.parts]:
        raise ValueError(f"stage {row.name} reads {', '.join(missing)}, which {checkpoint.path} does not have")
    model = Parley(checkpoint.config, row.loads)
    for part in row.loads:
        if part in checkpoint.parts:
            load_into(getattr(model, part), checkpoint.state_dict(part, dtype=torch.float32), part)
    return model
