"""Steps of the recipe's stages, with weights and passes that are made here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from tokenizers import Tokenizer, models

from benchmarks.train_step_setting import Built, Case, Setting
from parley.config import ParleyConfig
from parley.models.parley import Parley
from training.attention import use_packed_attention
from training.data.collate import DialogBatch, DialogCollator, Medium, Rendered
from training.data.loader import to_device
from training.data.packing import IGNORED
from training.distributed.sharding import blocks_with_gradients
from training.lora import inject
from training.lora_options import LoraOptions, adapted
from training.objectives.ctc import CtcBatch, CtcObjective
from training.objectives.next_token import NextTokenObjective
from training.objectives.objective import Objective
from training.objectives.speech_decoder import SpeechDecoderBatch, SpeechDecoderObjective
from training.options import Options
from training.recipe import Stage, find_stage
from training.resources.sizes import measure
from training.resources.speed import operations
from training.trainer import Trainer

LETTERS = "abcdefgh"


@dataclass
class NoData:
    """What the objectives read of their data while batches are made here."""

    schedule: object
    tokenizer: Tokenizer
    probe: list = field(default_factory=list)
    sample_rate: int = 16_000
    measures: tuple[str, ...] = ("none",)


def tokenizer(config: ParleyConfig) -> Tokenizer:
    chat = config.language.chat
    made = Tokenizer(models.WordLevel({letter: i for i, letter in enumerate(LETTERS)}, unk_token="a"))
    texts = (chat.system_open, chat.user_open, chat.assistant_open, chat.close, *chat.stop)
    made.add_special_tokens(list(dict.fromkeys(text.split("\n")[0].split(">")[0] + ">" for text in texts)))
    return made


@contextmanager
def on_device(setting: Setting) -> Iterator[None]:
    """Inside, modules are made on the device, frozen and trained alike in bf16 on a GPU: masters follow in fp32."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16 if setting.device.type == "cuda" else torch.float32)
    try:
        with torch.device(setting.device):
            yield
    finally:
        torch.set_default_dtype(before)


def objective_of(stage: Stage, setting: Setting, config: ParleyConfig) -> Objective:
    schedule = replace(stage.full, tokens=setting.tokens, steps=1000, batch=1)
    with on_device(setting):
        model = Parley(config, stage.loads)
    for buffer in model.buffers():
        buffer.data = buffer.data.float() if buffer.is_floating_point() else buffer.data
    data = NoData(schedule, tokenizer(config))
    match stage.objective:
        case "ctc":
            model.speech_encoder.mean.fill_(0.1)  # not fresh: nothing is to be measured
            return CtcObjective(model, data, 0, frames=setting.frames)
        case "speech_decoder":
            return MadeCodes(model, 0, 1)
    use_packed_attention(model.language)
    return NextTokenObjective(stage, model, data, 0)


class MadeCodes(SpeechDecoderObjective):
    """Stage 3.2 without a codec or speech: its batches are made here."""

    def __init__(self, model: Parley, seed: int, batch_size: int) -> None:
        Objective.__init__(self, model, seed, batch_size)
        self.config = model.speech_decoder.config


def trainer_of(stage: Stage, setting: Setting, config: ParleyConfig, folder: Path) -> Trainer:
    objective = objective_of(stage, setting, config)
    schedule = replace(stage.full, tokens=setting.tokens, steps=1000, batch=1)
    return Trainer(
        stage, schedule, objective, folder, device=setting.device, identity={}, options=Options()
    )  # fmt: skip


def dialogue(setting: Setting, config: ParleyConfig) -> DialogBatch:
    """A pass: a picture, a question, and an answer of a tenth of the tokens."""
    collator = DialogCollator(config, None)
    side = config.vision.image_size
    each = (side // config.vision.patch_size // config.vision.downsample) ** 2
    pixels = torch.randn(setting.tiles, 3, side, side)
    picture = Medium(False, pixels, 4, setting.tiles * each)
    ids = [0] * setting.tokens
    learned = setting.tokens // 10
    labels = [IGNORED] * (setting.tokens - learned) + [1] * learned
    return collator.batch([Rendered(ids, labels, [picture], [], [])])


def whole_step(name: str, what: str, layers: Callable[[Setting], int | None]) -> Case:
    def build(setting: Setting, folder: Path) -> Built:
        config, stage = with_layers(setting.config, layers(setting)), find_stage(name)
        made, batch = trainer_of(stage, setting, config, folder), dialogue(setting, config)

        def step() -> None:
            made.train_step([batch])
            made.step += 1

        return Built(step, setting.tokens, setting.tokens * needed(stage, setting, config))

    return Case(what, build)


def with_layers(config: ParleyConfig, layers: int | None) -> ParleyConfig:
    if layers is None:
        return config
    return config.model_copy(update={"language": config.language.model_copy(update={"num_layers": layers})})


def needed(stage: Stage, setting: Setting, config: ParleyConfig, lora: LoraOptions | None = None) -> float:
    """Floating-point operations a token."""
    schedule = replace(stage.full, sequence_length=setting.tokens)
    return operations(stage, schedule, config, measure(config), lora) or 0.0


def without_optimizer(setting: Setting, folder: Path) -> Built:
    """Weights and gradients in bf16: all layers fit on one H100."""
    stage = find_stage("1.2")
    objective = objective_of(stage, setting, setting.config)
    objective.to(setting.device).train()
    list(blocks_with_gradients(objective.model, stage, recompute=True))
    batch = to_device(dialogue(setting, setting.config), setting.device)

    def step() -> None:
        objective.zero_grad(set_to_none=True)
        objective(batch, 0)["next_token"].backward()

    return Built(step, setting.tokens, setting.tokens * needed(stage, setting, setting.config))


def lora(setting: Setting, folder: Path) -> Built:
    """1.3 by LoRA of rank 16 within 24 GB: the largest pass that fits."""
    if setting.device.type == "cuda":
        total = torch.cuda.get_device_properties(setting.device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, 24e9 / total))
    stage, options = adapted(find_stage("1.3")), LoraOptions()
    objective = objective_of(stage, setting, setting.config)
    inject(objective.model.language, options)
    made = Trainer(
        stage, replace(stage.full, steps=1000, batch=1), objective, folder, device=setting.device, identity={},
        options=Options(lora=options),
    )  # fmt: skip
    tokens, batch = largest_pass(made, setting)
    trained = sum(p.numel() for p in objective.parameters() if p.requires_grad)
    cost = needed(stage, replace(setting, tokens=tokens), setting.config, options)
    more = {"tokens_of_a_pass": tokens, "trained_millions": round(trained / 1e6, 1)}
    return Built(lambda: made.train_step([batch]), tokens, tokens * cost, more=lambda: more)


def largest_pass(made: Trainer, setting: Setting) -> tuple[int, DialogBatch]:
    """The largest of four that fits into the memory, and its tokens."""
    for tokens in (setting.tokens, setting.tokens * 2 // 3, setting.tokens // 2, setting.tokens // 3):
        tiles = max(1, setting.tiles * tokens // setting.tokens)
        batch = dialogue(replace(setting, tokens=tokens, tiles=tiles), setting.config)
        try:
            made.train_step([batch])
            return tokens, batch
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
    raise RuntimeError("no pass fits into 24 GB")


def utterances(setting: Setting, folder: Path) -> Built:
    """2.1a: utterances of 16 s."""
    stage = find_stage("2.1a")
    made = trainer_of(stage, setting, setting.config, folder)
    length = min(1600, setting.frames // 2)
    count = setting.frames // length
    targets = torch.randint(1, 20, (count * 20,))
    batch = CtcBatch(
        torch.randn(count, length, setting.config.speech.num_mel_bins), torch.full((count,), length), targets,
        torch.full((count,), 20), torch.ones(count, dtype=torch.bool), [], [],
    )  # fmt: skip
    frames = setting.frames // 4
    return Built(lambda: made.train_step([batch]), frames, frames * needed(stage, setting, setting.config))


def clauses(setting: Setting, folder: Path) -> Built:
    """3.2: clauses of 4 s."""
    stage = replace(find_stage("3.2"), reads=("language",))
    made = trainer_of(stage, setting, setting.config, folder)
    count = max(1, setting.codes // 160)
    codes = torch.randint(0, 16, (count, 159))
    targets = torch.cat([codes, torch.full((count, 1), made.objective.config.eos)], 1)
    batch = SpeechDecoderBatch([[1] * 16] * count, codes, targets)
    tokens = count * 160
    return Built(lambda: made.train_step([batch]), tokens, tokens * needed(stage, setting, setting.config))
