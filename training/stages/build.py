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
from parley.checkpoints.importers.qwen_internvit import STAGE as INITIALISED
from parley.checkpoints.loading import load_into
from parley.config import ParleyConfig, preset
from parley.models.parley import Parley, parts_of
from training.attention import use_packed_attention
from training.data.world import World
from training.data.world.sentences import all_words
from training.data.world.transcribed import CLAUSES
from training.distributed.precision import best_device, use_eager_attention
from training.distributed.process_group import rank
from training.identity import identity
from training.lora import inject
from training.lora_options import adapted
from training.objectives.objective import Objective
from training.only import only
from training.options import Options
from training.recipe import Schedule, Stage, find_stage, schedule_for
from training.run_folder import is_done, work_folder
from training.stages.adapter_init import rescale_adapters, whiten_vision_adapter
from training.stages.batch_norms import measure_batch_norms
from training.stages.user_data import UserData
from training.stages.world_data import WorldData, first_tokenizer

ADAPTER_PICTURES = 128  # that a fresh vision adapter is fitted to

StageData = WorldData | UserData


@dataclass
class BuiltStage:
    """What is needed to train a stage."""

    stage: Stage
    schedule: Schedule
    objective: Objective
    data: StageData
    seed: int
    options: Options
    tokenizer: Tokenizer | None  # to write into the checkpoint; None: as in the first parent
    parents: Sequence[Checkpoint]  # that the stage was built from

    @property
    def identity(self) -> dict:
        """What its saved states belong to."""
        start = [parent.fingerprint for parent in self.parents]
        data = self.data.fingerprint
        return identity(self.stage, self.schedule, self.seed, data, start, self.options.lora, self.options.only)


def build_stage(name: str, run: Path, preset_name: str, seed: int, options: Options) -> BuiltStage:
    """Stage `name` of a run of a preset, over nano's world.

    Raises `ValueError` if the preset cannot be trained or if a stage that it builds on is not done.
    """
    stage, config = only(find_stage(name), options.only), preset(preset_name)
    check_trainable(preset_name, [stage])
    if missing := [parent for parent in stage.after if not is_done(run, parent)]:
        raise ValueError(f"stage {name} builds on {', '.join(missing)}, which {run} does not have yet")
    parents = [Checkpoint.open(run / parent) for parent in stage.after]
    if preset_name == "nano":
        config = with_ctc_words(config, ctc_words(parents))
    tokenizer = stage_tokenizer(stage, config, parents, run, seed)
    data = WorldData(stage, endless(options.schedule(schedule_for(stage, preset_name))), seed, tokenizer)
    model = build_model(stage, config, parents, seed, data.schedule.anew)
    init_adapters(model, stage, parents, data)
    return built(stage, model, data, seed, options, tokenizer, parents)


def built(
    stage: Stage, model: Parley, data: StageData, seed: int, options: Options, tokenizer: Tokenizer | None,
    parents: Sequence[Checkpoint],
) -> BuiltStage:  # fmt: skip
    """A stage with its objective, and with adapters where it is trained by LoRA."""
    if options.lora is not None and "language" in stage.trains:
        stage = adapted(stage)
        check_read(stage, model.config, parents)
        inject(model.language, options.lora)
    use_eager_attention(model, best_device())
    if stage.objective == "next_token":
        use_packed_attention(model.language)
    objective = build_objective(stage, model, data, seed)
    measure_batch_norms(objective, stage)
    return BuiltStage(stage, data.schedule, objective, data, seed, options, tokenizer, parents)


def check_trainable(preset_name: str, stages: Sequence[Stage]) -> None:
    """Raises `ValueError` for an unknown preset, or for a stage whose schedule says no number of steps: it would end
    at once, untrained."""
    preset(preset_name)
    if unknown := [stage.name for stage in stages if not schedule_for(stage, preset_name).steps]:
        raise ValueError(
            f"{preset_name} cannot be trained yet: the recipe gives no steps for stage {', '.join(unknown)}, and only "
            "nano's world can be learned from; `parley train nano` works"
        )


def endless(schedule: Schedule) -> Schedule:
    """A schedule for nano's world. Raises `ValueError` if it has epochs alone: the stage would end untrained."""
    if not schedule.steps:
        raise ValueError("nano's world has no last sample, and so no --epochs; give --steps")
    return schedule


def with_ctc_words(config: ParleyConfig, words: Sequence[str]) -> ParleyConfig:
    """The config of a model whose CTC head has an id for each of these words."""
    return config.model_copy(update={"speech": config.speech.model_copy(update={"ctc_words": tuple(words)})})


def ctc_words(parents: Sequence[Checkpoint]) -> Sequence[str]:
    """The words of the CTC head that a parent has, which the world may have had then; else those of the world."""
    return next((parent.config.speech.ctc_words for parent in parents if "ctc_head" in parent.parts), all_words())


def build_model(
    stage: Stage, config: ParleyConfig, parents: Sequence[Checkpoint], seed: int, anew: Sequence[str] = ()
) -> Parley:
    """The parts the stage needs: those of its parents where they have them, else fresh ones, seeded by the stage, and
    fresh ones of the parts `anew`.

    Raises `ValueError` if a part that the stage only reads was never trained.
    """
    seed_weights(stage, seed)
    model = Parley(config, stage.loads)
    for part in stage.loads:
        parent = next((parent for parent in parents if has(parent, part, config)), None)
        if parent is not None and part not in anew:
            # The language model is too large to be whole in every process; its weights are read as they are sharded.
            large = part == "language"
            state = parent.state_dict(part, dtype=None if large else torch.float32, mapped=large)
            load_into(getattr(model, part), state, part)
        else:
            check_read(stage, config, parents)
    return model


def has(parent: Checkpoint, part: str, config: ParleyConfig) -> bool:
    """Whether a checkpoint has a part of a model of this config: a CTC head of other letters and words is another."""
    heads = [(speech.ctc_alphabet, speech.ctc_words) for speech in (parent.config.speech, config.speech)]
    return part in parent.parts and (part != "ctc_head" or heads[0] == heads[1])


def check_read(stage: Stage, config: ParleyConfig, parents: Sequence[Checkpoint]) -> None:
    """Raises `ValueError` if a part that the stage only reads was never trained."""
    for part in stage.reads_only:
        if not any(has(parent, part, config) for parent in parents):
            raise ValueError(f"stage {stage.name} reads {part}, which {_named(parents, stage)} does not have")


def _named(parents: Sequence[Checkpoint], stage: Stage) -> str:
    return " or ".join(str(parent.path) for parent in parents) or f"a start of stage {stage.name}"


def seed_weights(stage: Stage, seed: int) -> None:
    """Seeds the fresh weights of a stage."""
    torch.manual_seed(zlib.crc32(f"{seed} {stage.name}".encode()))


def fitted(stage: Stage, config: ParleyConfig) -> Stage:
    """The stage as a model of this config can be trained by it. Raises `ValueError` if it cannot."""
    parts = parts_of(config)
    trains = tuple(part for part in stage.trains if part in parts)
    if stage.objective == "ctc" and "ctc_head" not in trains:
        raise ValueError(f"stage {stage.name} trains the CTC head, which {config.name} does not have")
    reads = tuple(part for part in stage.reads if part in parts)
    return replace(stage, trains=trains, reads=reads, state=stage.state and "state_head" in parts)


def init_adapters(model: Parley, stage: Stage, parents: Sequence[Checkpoint], data: WorldData) -> None:
    """Initialises the adapters that the stage trains first, for pictures of nano's world."""
    fresh = fresh_parts(stage, parents)
    pictures: list[Image.Image] = []
    if "vision_adapter" in fresh:
        pictures = [data.train.picture(i)[1] for i in range(ADAPTER_PICTURES)]
        whiten_vision_adapter(model, pictures)
    rescale_adapters(model, fresh, pictures)


def fresh_parts(stage: Stage, parents: Sequence[Checkpoint]) -> set[str]:
    """The parts that the stage trains and no stage before has trained."""
    trained = {
        part for parent in parents for part, ref in parent.manifest.parts.items() if ref.stage != INITIALISED
    }  # fmt: skip
    return set(stage.trains) - trained


def rescale_fresh(model: Parley, stage: Stage, parents: Sequence[Checkpoint], seed: int) -> None:
    """Rescales the adapters that the stage trains first, for pictures of any kind."""
    fresh = fresh_parts(stage, parents)
    if {"vision_adapter", "speech_adapter"} & fresh:
        world = World(seed, "train")
        rescale_adapters(model, fresh, [world.picture(i)[1] for i in range(16)])


def build_objective(stage: Stage, model: Parley, data: StageData, seed: int) -> Objective:
    """The objective of a stage. Its module is imported when it is needed."""
    match stage.objective:
        case "cells":
            return _cells(model, data, seed)
        case "next_token":
            from training.objectives.next_token import NextTokenObjective

            return NextTokenObjective(stage, model, data, seed)
        case "ctc":
            return _ctc(model, data, seed)
        case "codec":
            return _codec(model, data, seed)
        case "speech_decoder":
            return _speech_decoder(model, data, seed)
    raise AssertionError(stage.objective)


def _cells(model: Parley, data: WorldData, seed: int) -> Objective:
    from training.data.world.pictures import LABEL_SIZES
    from training.objectives.cells import CellsObjective

    return CellsObjective(model, data, seed, label_sizes=LABEL_SIZES)


def _ctc(model: Parley, data: StageData, seed: int) -> Objective:
    from training.objectives.ctc import CtcObjective

    schedule = data.schedule
    return CtcObjective(model, data.speech(model), seed, batch_size=schedule.batch, frames=schedule.tokens)


def _codec(model: Parley, data: StageData, seed: int) -> Objective:
    from training.objectives.codec import CodecObjective

    schedule = data.schedule
    return CodecObjective(
        model, data.speech(model), seed, batch_size=schedule.batch, adversary_after=schedule.steps // 2,
        tokens=schedule.tokens,
    )  # fmt: skip


def _speech_decoder(model: Parley, data: StageData, seed: int) -> Objective:
    from training.objectives.speech_decoder import SpeechDecoderObjective

    schedule, drawn = data.schedule, isinstance(data, WorldData)
    pool = min(CLAUSES, schedule.steps * schedule.batch) if drawn else len(data.epochs)
    return SpeechDecoderObjective(
        model, data.speech(model), seed, tokenizer=data.tokenizer, batch_size=schedule.batch, tokens=schedule.tokens,
        pool=pool, drawn=drawn,
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
