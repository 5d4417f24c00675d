"""Any stage of the recipe from any checkpoint: imported, initialised, exported, or of a run.

Notable points:
- The checkpoint decides the sizes. The parts it has are trained further; only parts it lacks start fresh.
- If the model lacks a part (an imported one has no CTC head), the stage leaves out what it would do with it. A stage
  that trains nothing else is refused.
- A CTC head that was never trained is made for the user's data: its letters and words are those of the transcripts.
- Schedules are the recipe's: the `full` column for the user's data, else that of nano.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from parley.checkpoints import Checkpoint
from parley.checkpoints.importers.qwen_internvit import STAGE as INITIALISED
from parley.config import ParleyConfig
from training.data.mix import RECORDS, SPEECH, Mix, read_mix
from training.data.shares import learned_kinds
from training.only import only
from training.options import Options
from training.recipe import Schedule, Stage, find_stage
from training.resources.check import check_memory
from training.run_folder import work_folder
from training.stages.build import BuiltStage, build_model, built, endless, fitted, rescale_fresh
from training.stages.user_data import UserData, teachable
from training.stages.world_data import WorldData


def build_finetune(name: str, start: Path, run: Path, records: Path | None, seed: int, options: Options) -> BuiltStage:
    """Stage `name` from the checkpoint `start`.

    `records`: the user's data, mix.yaml or a file of records; None for nano's world. Raises `ValueError` if the stage
    cannot be trained with this model or these data.
    """
    checkpoint = Checkpoint.open(start)
    stage, tokenizer = only(find_stage(name), options.only), checkpoint.tokenizer()
    if tokenizer is None and stage.objective in ("next_token", "speech_decoder"):
        raise ValueError(f"{start} has no tokenizer: stage {name} cannot read words")
    schedule = options.schedule(schedule_from(stage, checkpoint.config, on_records=records is not None))
    if records is None:
        stage, config = fitted(stage, checkpoint.config), checkpoint.config
        data = WorldData(stage, endless(schedule), seed, tokenizer)
    else:
        mix = read_mix(records, plain_kind(stage))
        data = user_data(stage, schedule, mix, checkpoint, seed, work_folder(run, name), skip_bad=options.skip_bad)
        stage, config = data.stage, data.config
    check_memory(stage, data.schedule, config, options.lora)
    model = build_model(stage, config, [checkpoint], seed)
    rescale_fresh(model, stage, [checkpoint], seed)
    return built(stage, model, data, seed, options, tokenizer=None, parents=[checkpoint])


def schedule_from(stage: Stage, config: ParleyConfig, on_records: bool) -> Schedule:
    """The stage's schedule, with sequences as long as the model can read."""
    schedule = stage.full if on_records and stage.full is not None else stage.nano
    longest = min(Schedule.sequence_length, config.language.max_position_embeddings)
    return replace(schedule, sequence_length=longest)


def user_data(
    stage: Stage, schedule: Schedule, mix: Mix, checkpoint: Checkpoint, seed: int, folder: Path, *, skip_bad: bool
) -> UserData:
    """The data of a stage, and with them the config of a model that has a CTC head for their transcripts."""
    config = checkpoint.config
    fresh_head = stage.objective == "ctc" and not has_trained_head(checkpoint)
    stage = stage if fresh_head else teachable(fitted(stage, config), mix)
    data = UserData(stage, schedule, mix, config, checkpoint.tokenizer(), seed, folder, skip_bad=skip_bad)
    if fresh_head:
        data.config = data.ctc_pieces().applied(config)
        data.stage = fitted(stage, data.config)
    return data


def has_trained_head(checkpoint: Checkpoint) -> bool:
    """Whether a stage has trained the CTC head."""
    head = checkpoint.manifest.parts.get("ctc_head")
    return head is not None and head.stage != INITIALISED


def plain_kind(stage: Stage) -> str:
    """What the records of a plain file are to a stage: speech if it learns from nothing else, else dialogues."""
    kinds = learned_kinds(stage.full) if stage.full is not None else ()
    return next((kind for kind in kinds if kind in SPEECH), RECORDS)
