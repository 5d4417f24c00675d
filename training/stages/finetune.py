"""Any stage of the recipe from any checkpoint: imported, initialised, exported, or of a run.

Notable points:
- The checkpoint decides the sizes. The parts it has are trained further; only parts it lacks start fresh.
- If the model lacks a part (an imported one has no CTC head), the stage leaves out what it would do with it. A stage
  that trains nothing else is refused.
- Schedules are the recipe's: the `full` column for the user's data, else that of nano.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tokenizers import Tokenizer

from parley.checkpoints import Checkpoint
from parley.config import ParleyConfig
from training.data.recorded import RecordedData
from training.options import Options
from training.recipe import Schedule, Stage, find_stage
from training.stages.build import BuiltStage, build_model, built, fitted, rescale_fresh
from training.stages.world_data import WorldData

ENCODER_OF = {"image": "vision_encoder", "video": "vision_encoder", "audio": "speech_encoder"}


def build_finetune(name: str, start: Path, records: Path | None, seed: int, options: Options) -> BuiltStage:
    """Stage `name` from the checkpoint `start`.

    `records`: a file of LLaVA/VITA records to learn from; None for nano's world. Raises `ValueError` if the stage
    cannot be trained with this model or these data.
    """
    checkpoint = Checkpoint.open(start)
    config, tokenizer = checkpoint.config, checkpoint.tokenizer()
    stage = fitted(find_stage(name), config)
    if tokenizer is None and stage.objective in ("next_token", "speech_decoder"):
        raise ValueError(f"{start} has no tokenizer: stage {name} cannot read words")
    schedule = options.schedule(schedule_from(stage, config, on_records=records is not None))
    if records is None:
        data = WorldData(stage, schedule, seed, tokenizer)
    else:
        data = recorded_data(records, stage, schedule, config, tokenizer, seed)
    model = build_model(stage, config, [checkpoint], seed)
    rescale_fresh(model, stage, [checkpoint], seed)
    return built(stage, model, data, seed, options, tokenizer=None, parents=[checkpoint])


def schedule_from(stage: Stage, config: ParleyConfig, on_records: bool) -> Schedule:
    """The stage's schedule, with sequences as long as the model can read."""
    schedule = stage.full if on_records and stage.full is not None else stage.nano
    longest = min(Schedule.sequence_length, config.language.max_position_embeddings)
    return replace(schedule, sequence_length=longest)


def recorded_data(
    records: Path, stage: Stage, schedule: Schedule, config: ParleyConfig, tokenizer: Tokenizer, seed: int
) -> RecordedData:
    """The data of a file of records. Raises `ValueError` if the stage cannot learn from them."""
    if stage.objective != "next_token":
        raise ValueError(
            f"stage {stage.name} does not learn from dialogues; only nano's world has data for it: leave --data out"
        )
    data = RecordedData(records, schedule, config, tokenizer, seed)
    if unread := [kind for kind in data.media if ENCODER_OF[kind] not in stage.loads]:
        raise ValueError(f"{records} has records with {', '.join(unread)}, which stage {stage.name} does not take in")
    return data
