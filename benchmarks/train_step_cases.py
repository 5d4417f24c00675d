"""The cases of `benchmarks.train_step`: what each builds, and what one step of it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from tokenizers import Tokenizer, models
from torch import Tensor

from parley.config import ParleyConfig, preset
from parley.media.image import tile
from parley.models.parley import Parley
from training.attention import packed_attention, use_packed_attention
from training.data.collate import DialogBatch, DialogCollator, Medium, Rendered
from training.data.loader import to_device
from training.data.packing import IGNORED, Segments
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


@dataclass(frozen=True)
class Setting:
    """Where and how large."""

    size: str
    device: torch.device
    config: ParleyConfig
    tokens: int  # of a pass
    tiles: int  # of its picture
    frames: int  # mel frames of a pass of 2.1a
    codes: int  # codec tokens of a pass of 3.2
    layers: int  # of the language model, where it is trained with an optimizer on one GPU
    matrix: int  # side
    warm_up: int
    steps: int

    @classmethod
    def of(cls, size: str) -> Setting:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if size == "full":
            return cls(size, device, preset("vita-7b"), 6200, 13, 48_000, 16_384, 10, 8192, 8, 20)
        return cls(size, device, small(preset("vita-7b")), 256, 3, 800, 160, 2, 512, 1, 3)


def small(config: ParleyConfig) -> ParleyConfig:
    """The same blocks, a few channels."""
    sizes = {"hidden_size": 64, "num_layers": 4, "num_heads": 4, "intermediate_size": 128}
    return config.model_copy(
        update={
            "vision": config.vision.model_copy(update=sizes | {"image_size": 112}),
            "speech": config.speech.model_copy(update=sizes | {"conv_channels": 16}),
            "language": config.language.model_copy(update=sizes | {"num_kv_heads": 2, "vocab_size": 1000}),
            "speech_decoder": config.speech_decoder.model_copy(
                update={"hidden_size": 64, "intermediate_size": 128, "num_heads": 4}
            ),
        }
    )


@dataclass
class Built:
    """A case that is ready to be measured."""

    step: Callable[[], object]
    tokens: int = 0  # of a step
    operations: float = 0.0  # floating-point operations of a step
    more: Callable[[], dict] = dict  # further figures, after the steps
    seconds: list[float] = field(default_factory=list)  # of the steps, where another program has made them


@dataclass(frozen=True)
class Case:
    what: str
    build: Callable[[Setting, Path], Built]


# Of the card


def products(setting: Setting, folder: Path) -> Built:
    dtype = torch.bfloat16 if setting.device.type == "cuda" else torch.float32
    matrix = torch.randn(setting.matrix, setting.matrix, device=setting.device, dtype=dtype)
    return Built(lambda: matrix @ matrix, operations=2.0 * setting.matrix**3)


def copies(setting: Setting, folder: Path) -> Built:
    source = torch.empty(setting.matrix**2 * 8, device=setting.device, dtype=torch.float32)
    target, began = torch.empty_like(source), []

    def copy() -> None:
        began.append(time.perf_counter())
        target.copy_(source)

    def rate() -> dict:
        seconds = np.median(np.diff(began)) if len(began) > 1 else float("nan")
        return {"gb_per_second": round(2 * source.numel() * 4 / seconds / 1e9)}

    return Built(copy, more=rate)


# Of the stages


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
    return collator.batch([Rendered(ids, labels, [picture], [], [0], ["made"])])


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


def attention(packed: bool) -> Callable[[Setting, Path], Built]:
    """Attention of one layer, forward and backward, over a packed sequence of three samples."""

    def build(setting: Setting, folder: Path) -> Built:
        language, device = setting.config.language, setting.device
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        size = language.hidden_size // language.num_heads
        shapes = [(1, heads, setting.tokens, size) for heads in (language.num_heads, *2 * [language.num_kv_heads])]
        query, key, value = (torch.randn(shape, device=device, dtype=dtype, requires_grad=True) for shape in shapes)
        segments = to_device(Segments.of([setting.tokens // 2, setting.tokens // 4, setting.tokens // 4]), device)
        owner = torch.arange(3).repeat_interleave(torch.tensor(segments.lengths)).to(device)
        mask = (owner[:, None] == owner[None]).tril()

        def step() -> None:
            if packed:
                out, _ = packed_attention(None, query, key, value, None, scaling=size**-0.5, segments=segments)
            else:
                out = F.scaled_dot_product_attention(query, key, value, mask, enable_gqa=True)
            out.float().sum().backward()

        return Built(step, setting.tokens)

    return build


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


def peer(setting: Setting, folder: Path) -> Built:
    """Hugging Face's Trainer: the language model alone, text of as many tokens."""
    import transformers

    from training.resources.speed import language_operations

    config = with_layers(setting.config, setting.layers)
    with on_device(setting):
        model = Parley(config, ("language",)).language
    model.config.use_cache = False
    rows = [{"input_ids": torch.ones(setting.tokens, dtype=torch.long), "labels": torch.ones(setting.tokens).long()}]
    on_gpu, marks = setting.device.type == "cuda", []

    class Marks(transformers.TrainerCallback):
        def on_step_end(self, *_, **__):
            if on_gpu:
                torch.cuda.synchronize()
            marks.append(time.perf_counter())

    steps = setting.warm_up + setting.steps
    options = transformers.TrainingArguments(
        output_dir=str(folder), per_device_train_batch_size=1, max_steps=steps, bf16=on_gpu, use_cpu=not on_gpu,
        gradient_checkpointing=True, optim="adamw_torch_fused", report_to=[], save_strategy="no",
        logging_strategy="no", dataloader_pin_memory=on_gpu, disable_tqdm=True,
    )  # fmt: skip
    trainer = transformers.Trainer(model.float(), options, train_dataset=rows * steps, callbacks=[Marks()])
    trainer.train()
    size = language_operations(config, measure(config), setting.tokens, trained=True)
    seconds = np.diff(marks)[-setting.steps :].tolist()
    return Built(lambda: None, setting.tokens, setting.tokens * size, seconds=seconds)


def against_peer(setting: Setting, folder: Path) -> Built:
    """Our trainer on what the peer has: text alone, as many layers, no vision encoder."""
    from training.resources.speed import language_operations

    config = with_layers(setting.config, setting.layers)
    stage = replace(find_stage("1.2"), trains=("language",))
    made = trainer_of(stage, setting, config, folder)
    ids, labels = [1] * setting.tokens, [1] * (setting.tokens - 1) + [IGNORED]
    batch = DialogCollator(config, None).batch([Rendered(ids, labels, [], [], [0], ["made"])])
    size = language_operations(config, measure(config), setting.tokens, trained=True)
    return Built(lambda: made.train_step([batch]), setting.tokens, setting.tokens * size)


# Around the step


def saves(setting: Setting, folder: Path) -> Built:
    """How long training stands still for a state of 10 GB (small: 4 MB) that is written beside it."""
    from training.distributed.states import SavedStates

    elements = int(10e9 / 4) if setting.size == "full" else 1_000_000
    tensors = {f"tensor{i}": torch.empty(elements // 10, device=setting.device) for i in range(10)}
    states, number = SavedStates(folder), iter(range(1, 1000))

    def save() -> None:
        states.save(next(number), tensors)

    def wait() -> dict:
        began = time.perf_counter()
        states.finish()
        return {"last_written_after_seconds": round(time.perf_counter() - began, 2)}

    return Built(save, more=wait)


def loader(setting: Setting, folder: Path) -> Built:
    """Pictures of 640×480, decoded and cut into tiles by the processes of the loader."""
    from torch.utils.data import DataLoader

    from training.data.loader import workers_for

    Image.fromarray(np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8)).save(folder / "a.jpg")
    workers = workers_for(torch.device("cuda"))
    made = iter(DataLoader(_Pictures(folder / "a.jpg", setting.config), None, num_workers=workers))
    return Built(
        lambda: [next(made) for _ in range(16)], tokens=16, more=lambda: {"workers": workers, "unit": "pictures"}
    )


@dataclass
class _Pictures:
    path: Path
    config: ParleyConfig

    def __len__(self) -> int:
        return 100_000

    def __getitem__(self, index: int) -> Tensor:
        if index >= len(self):
            raise IndexError
        return torch.from_numpy(tile(Image.open(self.path).convert("RGB"), self.config.vision))


CASES = {
    "products": Case("matrix products: what the card can do", products),
    "copies": Case("copies on the card", copies),
    "attention": Case("attention of one layer, packed (varlen on a GPU)", attention(packed=True)),
    "dense-mask": Case("the same with a mask of the whole sequence", attention(packed=False)),
    "1.1": whole_step("1.1", "1.1, language model and vision encoder frozen", lambda setting: None),
    "1.2-passes": Case("1.2, all layers, forward and backward, no optimizer", without_optimizer),
    "1.2": whole_step("1.2", "1.2, fewer layers, whole step", lambda setting: setting.layers),
    "lora": Case("1.3 by LoRA within 24 GB, largest pass", lora),
    "2.1a": Case("2.1a, encoder frames of 40 ms", utterances),
    "3.2": Case("3.2, codec tokens", clauses),
    "trainer": Case("Hugging Face's Trainer, fewer layers, text alone", peer),
    "ours": Case("ours on the same", against_peer),
    "save": Case("training stands still for a state", saves),
    "loader": Case("loader: 16 pictures of 640×480", loader),
    "1.2-whole": whole_step("1.2", "1.2, all layers, whole step (needs an H200)", lambda setting: None),
}
