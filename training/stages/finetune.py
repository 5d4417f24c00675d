"""Any stage of the recipe from any checkpoint: imported, initialised, exported, or of a run.

Notable points:
- The checkpoint decides the sizes. The parts it has are trained further; only parts it lacks start fresh.
- If the model lacks a part (an imported one has no CTC head), the stage leaves out what it would do with it. A stage
  that trains nothing else is refused.
- Schedules are the recipe's: the paper's for full-size models over a file of records, else those of nano.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from tokenizers import Tokenizer

from parley.checkpoints import Checkpoint
from parley.checkpoints.importers.qwen_internvit import STAGE as INITIALISED
from parley.checkpoints.loading import load_into
from parley.config import ParleyConfig
from parley.models.parley import Parley, parts_of
from training.data.recorded import RecordedData
from training.data.world import World
from training.distributed.precision import best_device
from training.recipe import Schedule, Stage, find_stage
from training.run_folder import check_startable
from training.stages.adapter_init import rescale_adapters
from training.stages.build import BuiltStage, build_objective, limited, seed_weights
from training.stages.run import train_and_save
from training.stages.world_data import WorldData

ADAPTER_PICTURES = 16  # that a fresh vision adapter is rescaled with
ENCODER_OF = {"image": "vision_encoder", "video": "vision_encoder", "audio": "speech_encoder"}


def finetune(
    name: str, start: Path, run: Path, *, records: Path | None = None, seed: int = 0, resume: bool = False,
    steps: int | None = None,
) -> None:  # fmt: skip
    """Trains stage `name` from the checkpoint `start` and writes RUN/STAGE.

    `records`: a file of LLaVA/VITA records to learn from; None for nano's world. Raises `ValueError` if the stage
    cannot be trained with this model or these data, or was done or begun before.
    """
    check_startable(run, name, resume)
    train_and_save(build_finetune(name, start, records, seed, steps), run, resume=resume)


def build_finetune(name: str, start: Path, records: Path | None, seed: int, steps: int | None) -> BuiltStage:
    """Stage `name` from the checkpoint `start`; see `finetune`."""
    checkpoint = Checkpoint.open(start)
    config, tokenizer = checkpoint.config, checkpoint.tokenizer()
    stage = fitted(find_stage(name), config)
    if tokenizer is None and stage.objective in ("next_token", "speech_decoder"):
        raise ValueError(f"{start} has no tokenizer: stage {name} cannot read words")
    schedule = schedule_from(stage, config, on_records=records is not None)
    if records is None:
        data = WorldData(stage, limited(schedule, steps), seed, tokenizer)
    else:
        data = recorded_data(records, stage, schedule, config, tokenizer, seed, steps)
    model = model_from(checkpoint, stage, seed)
    objective = build_objective(stage, data.schedule, model.to(best_device()), data, seed)
    return BuiltStage(stage, data.schedule, model, objective, data, seed, tokenizer=None, parents=[checkpoint])


def fitted(stage: Stage, config: ParleyConfig) -> Stage:
    """The stage as a model of this config can be trained by it. Raises `ValueError` if it cannot."""
    parts = parts_of(config)
    trains = tuple(part for part in stage.trains if part in parts)
    if stage.objective == "ctc" and "ctc_head" not in trains:
        raise ValueError(f"stage {stage.name} trains the CTC head, which {config.name} does not have")
    reads = tuple(part for part in stage.reads if part in parts)
    return replace(stage, trains=trains, reads=reads, state=stage.state and "state_head" in trains)


def schedule_from(stage: Stage, config: ParleyConfig, on_records: bool) -> Schedule:
    """The stage's schedule, with sequences as long as the model can read."""
    schedule = stage.full if on_records and stage.full is not None and config.name != "nano" else stage.nano
    longest = min(Schedule.sequence_length, config.language.max_position_embeddings)
    return replace(schedule, sequence_length=longest)


def recorded_data(
    records: Path, stage: Stage, schedule: Schedule, config: ParleyConfig, tokenizer: Tokenizer, seed: int,
    steps: int | None,
) -> RecordedData:  # fmt: skip
    """The data of a file of records. Raises `ValueError` if the stage cannot learn from them."""
    if stage.objective != "next_token":
        raise ValueError(
            f"stage {stage.name} does not learn from dialogues; only nano's world has data for it: leave --data out"
        )
    data = RecordedData(records, schedule, config, tokenizer, seed)
    if unread := [kind for kind in data.media if ENCODER_OF[kind] not in stage.loads]:
        raise ValueError(f"{records} has records with {', '.join(unread)}, which stage {stage.name} does not take in")
    data.schedule = limited(data.schedule, steps)
    return data


def model_from(checkpoint: Checkpoint, stage: Stage, seed: int) -> Parley:
    """The parts the stage needs, in fp32: the checkpoint's, and fresh ones to train where it has none."""
    seed_weights(stage, seed)
    parts = checkpoint.manifest.parts
    if missing := [part for part in stage.reads if part not in parts]:
        raise ValueError(f"stage {stage.name} reads {', '.join(missing)}, which {checkpoint.path} does not have")
    model = Parley(checkpoint.config, stage.loads)
    for part in stage.loads:
        if part in parts:
            load_into(getattr(model, part), checkpoint.state_dict(part, dtype=torch.float32), part)
    fresh = [part for part in stage.trains if part not in parts or parts[part].stage == INITIALISED]
    if {"vision_adapter", "speech_adapter"} & set(fresh):
        world = World(seed, "train")
        rescale_adapters(model, fresh, [world.picture(i)[1] for i in range(ADAPTER_PICTURES)])
    return model
