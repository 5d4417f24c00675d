"""A stage of the recipe, built: its model from the stages it builds on, its data, its objective."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image
from tokenizers import Tokenizer

from parley.checkpoints import Checkpoint
from parley.checkpoints.loading import load_into
from parley.config import ParleyConfig, preset
from parley.models.parley import Parley
from training.data.recorded import RecordedData
from training.data.world.sentences import all_words
from training.data.world.voices import ANSWER
from training.distributed.precision import best_device, use_eager_attention
from training.distributed.process_group import rank, world_size
from training.recipe import Schedule, Stage, find_stage, schedule_for
from training.run_folder import is_done, work_folder
from training.stages.adapter_init import rescale_adapters, whiten_vision_adapter
from training.stages.world_data import WorldData, answer_voice_or_any, first_tokenizer

ADAPTER_PICTURES = 128  # that a fresh vision adapter is fitted to
MAX_CLAUSES = 16_384  # different ones that stage 3.2 learns from


@dataclass
class BuiltStage:
    """What is needed to train a stage."""

    stage: Stage
    schedule: Schedule  # of all processes together
    model: Parley  # on the device
    objective: object  # see `training.objectives`
    data: WorldData | RecordedData
    seed: int
    tokenizer: Tokenizer | None  # to write into the checkpoint; None: as in the first parent
    parents: Sequence[Checkpoint]  # that the stage was built from


def build_stage(name: str, run: Path, preset_name: str, seed: int, steps: int | None = None) -> BuiltStage:
    """Stage `name` of a run, with at most `steps` steps.

    Raises `ValueError` if the preset cannot be trained or if a stage that it builds on is not done.
    """
    stage, config = find_stage(name), preset(preset_name)
    check_trainable(preset_name, [stage])
    if missing := [parent for parent in stage.after if not is_done(run, parent)]:
        raise ValueError(f"stage {name} builds on {', '.join(missing)}, which {run} does not have yet")
    if preset_name == "nano":
        config = with_ctc_words(config, all_words())
    schedule = limited(schedule_for(stage, preset_name), steps)
    share = replace(schedule, batch=schedule.batch // world_size())
    parents = [Checkpoint.open(run / parent) for parent in stage.after]
    tokenizer = stage_tokenizer(stage, config, parents, run, seed)
    model = build_model(stage, config, parents, seed)
    data = WorldData(stage, share, seed, tokenizer)
    init_adapters(model, stage, parents, data)
    use_eager_attention(model, best_device())
    objective = build_objective(stage, share, model.to(best_device()), data, seed)
    return BuiltStage(stage, schedule, model, objective, data, seed, tokenizer, parents)


def check_trainable(preset_name: str, stages: Sequence[Stage]) -> None:
    """Raises `ValueError` for an unknown preset, or for a stage whose schedule says no number of steps: it would end
    at once, untrained."""
    preset(preset_name)
    if endless := [stage.name for stage in stages if not schedule_for(stage, preset_name).steps]:
        raise ValueError(
            f"{preset_name} cannot be trained yet: the recipe gives no steps for stage {', '.join(endless)}, and only "
            "nano's world can be learned from; `parley train nano` works"
        )


def limited(schedule: Schedule, steps: int | None) -> Schedule:
    """The schedule with at most `steps` steps: for a trial of the recipe."""
    return schedule if steps is None else replace(schedule, steps=min(steps, schedule.steps))


def with_ctc_words(config: ParleyConfig, words: Sequence[str]) -> ParleyConfig:
    """The config of a model whose CTC head has an id for each of these words."""
    return config.model_copy(update={"speech": config.speech.model_copy(update={"ctc_words": tuple(words)})})


def build_model(stage: Stage, config: ParleyConfig, parents: Sequence[Checkpoint], seed: int) -> Parley:
    """The parts the stage needs: those of its parents where they have them, else fresh ones, seeded by the stage.

    Raises `ValueError` if a part that the stage only reads was never trained.
    """
    seed_weights(stage, seed)
    model = Parley(config, stage.loads)
    for part in stage.loads:
        parent = next((parent for parent in parents if part in parent.parts), None)
        if parent is not None:
            load_into(getattr(model, part), parent.state_dict(part), part)
        elif part in stage.reads:
            raise ValueError(
                f"stage {stage.name} reads {part}, which none of {', '.join(stage.after) or 'its parents'} has"
            )
    return model


def seed_weights(stage: Stage, seed: int) -> None:
    """Seeds the fresh weights of a stage."""
    torch.manual_seed(zlib.crc32(f"{seed} {stage.name}".encode()))


def init_adapters(model: Parley, stage: Stage, parents: Sequence[Checkpoint], data: WorldData) -> None:
    """Initialises the adapters that the stage trains first."""
    trained = {part for parent in parents for part in parent.parts}
    fresh = set(stage.trains) - trained
    pictures: list[Image.Image] = []
    if "vision_adapter" in fresh:
        pictures = [data.train.picture(i)[1] for i in range(ADAPTER_PICTURES)]
        whiten_vision_adapter(model, pictures)
    rescale_adapters(model, fresh, pictures)


def build_objective(stage: Stage, share: Schedule, model: Parley, data: WorldData | RecordedData, seed: int):
    """The objective of a stage; `share` is the schedule of one process. Its module is imported when it is needed."""
    match stage.objective:
        case "cells":
            return _cells(stage, model, data, seed)
        case "next_token":
            from training.objectives.next_token import NextTokenObjective

            return NextTokenObjective(stage, model, data, seed)
        case "ctc":
            return _ctc(stage, share, model, seed)
        case "codec":
            return _codec(stage, share, model, seed)
        case "speech_decoder":
            return _speech_decoder(stage, share, model, data, seed)
    raise AssertionError(stage.objective)


def _cells(stage: Stage, model: Parley, data: WorldData, seed: int):
    from training.data.world.pictures import LABEL_SIZES
    from training.objectives.cells import CellsObjective

    return CellsObjective(stage, model, data, seed, label_sizes=LABEL_SIZES)


def _ctc(stage: Stage, share: Schedule, model: Parley, seed: int):
    from training.data.world.transcribed import RecordedSentences
    from training.objectives.ctc import CtcObjective

    return CtcObjective(stage, model, RecordedSentences(seed, share.mixture), seed, batch_size=share.batch)


def _codec(stage: Stage, share: Schedule, model: Parley, seed: int):
    from training.data.world.transcribed import CleanSentences
    from training.objectives.codec import CodecObjective

    speech = CleanSentences(seed, model.config.codec.sample_rate, answer_voice_or_any)
    return CodecObjective(stage, model, speech, seed, batch_size=share.batch, adversary_after=share.steps // 2)


def _speech_decoder(stage: Stage, share: Schedule, model: Parley, data: WorldData | RecordedData, seed: int):
    from training.data.world.transcribed import AnswerClauses
    from training.objectives.speech_decoder import SpeechDecoderObjective

    speech = AnswerClauses(seed, model.config.codec.sample_rate, ANSWER)
    pool = min(MAX_CLAUSES, share.steps * share.batch * world_size())
    return SpeechDecoderObjective(
        stage, model, speech, seed, tokenizer=data.tokenizer, batch_size=share.batch, pool=pool
    )  # fmt: skip


def stage_tokenizer(
    stage: Stage, config: ParleyConfig, parents: Sequence[Checkpoint], run: Path, seed: int
) -> Tokenizer | None:
    """The tokenizer of the stage's parents. A stage that trains the language model first makes one; stages of speech
    alone have none."""
    for parent in parents:
        if (tokenizer := parent.tokenizer()) is not None:
            return tokenizer
    return _made_tokenizer(stage, config, run, seed) if "language" in stage.trains else None


def _made_tokenizer(stage: Stage, config: ParleyConfig, run: Path, seed: int) -> Tokenizer:
    """Made once a run: a resumed stage must have the ids that its weights were trained with."""
    path = work_folder(run, stage.name) / "tokenizer.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{rank()}.part")  # every process of the stage may make it
        temporary.write_text(first_tokenizer(config.language, seed).to_str())
        temporary.replace(path)
    return Tokenizer.from_file(str(path))
