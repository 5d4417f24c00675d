"""Tiny stages for proofs on several processes: `python tiny.py JSON` is one of them.

The first half of every step's samples are text with answers of one word, the second half pictures and speech with long
answers: of two processes one has no media and few tokens, the other all of the rest.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from parley.config import ParleyConfig, preset
from parley.models.parley import Parley
from training import trainer as trainer_module
from training.attention import use_packed_attention
from training.data.sample import Sample
from training.distributed import precision
from training.distributed.precision import Precision, use_eager_attention
from training.distributed.process_group import process_group, rank
from training.distributed.sharding import whole
from training.ending import StageInterruptionError
from training.launch.stage_process import end
from training.lora import inject
from training.lora_options import LoraOptions, adapted
from training.objectives import codec, ctc, speech_decoder
from training.objectives.codec import CodecObjective
from training.objectives.ctc import CtcObjective
from training.objectives.next_token import NextTokenObjective
from training.objectives.objective import Objective
from training.objectives.speech_decoder import SpeechDecoderObjective
from training.optimizers import build_optimizers
from training.options import Options
from training.recipe import Schedule, Stage, find_stage
from training.trainer import Trainer

CPU = torch.device("cpu")
BATCH, STEPS, STOPPED = 8, 20, 12
LR = 1e-3
IN_BF16 = ("2.2", "3.2")
BY_LORA = "2.2 by LoRA"
NAMES = ("1.1", "1.2", "1.3", "2.1a", "2.1b", "2.2", "3.1", "3.2", BY_LORA)
LONG = "a long answer in many words, so that nearly all tokens of the step are in this half of its samples"


def config() -> ParleyConfig:
    """All blocks of vita-7b at a few channels: batch norm, absolute key positions, RMS norms, grouped KV heads."""
    full, nano = preset("vita-7b"), preset("nano")
    sizes = {"hidden_size": 32, "num_layers": 2, "num_heads": 2, "intermediate_size": 48}
    speech = {"conv_channels": 4, "dropout": 0.0, "chunk_size": 4, "left_chunks": 4}
    language = sizes | {"num_heads": 4, "num_kv_heads": 2, "vocab_size": 300, "chat": nano.language.chat}
    decoder = {"hidden_size": 16, "intermediate_size": 32, "num_heads": 2, "nar_layers": 1, "ar_layers": 1}
    tiny_codec = {"encoder_channels": 16, "encoder_layers": 1, "decoder_channels": 16, "decoder_layers": 1}
    tiny_codec |= {"num_codes": 16, "code_dim": 8, "num_mel_bins": 20, "num_speaker_tokens": 2, "speaker_codes": 4}
    return ParleyConfig(
        name="tiny",
        vision=full.vision.model_copy(update=sizes | {"image_size": 28, "max_tiles": 4}),
        speech=full.speech.model_copy(update=sizes | speech),
        language=full.language.model_copy(update=language),
        speech_decoder=full.speech_decoder.model_copy(update=decoder | {"num_codes": 16}),
        codec=nano.codec.model_copy(update=tiny_codec),
    )


def tokenizer() -> Tokenizer:
    """A token a byte, and those of nano's chat format."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    made.add_special_tokens(["<|system|>", "<|user|>", "<|assistant|>", "<|end|>"])
    return made


@dataclass
class Dialogs:
    """What `NextTokenObjective` asks for."""

    schedule: Schedule
    tokenizer: Tokenizer
    speech: bool
    pictures: bool

    @property
    def mixture(self) -> Dialogs:
        return self

    @property
    def probe(self) -> list:
        return [self[100_000 + number] for number in range(BATCH - 1)]

    def where(self, number: int) -> str:
        return f"sample {number}"

    def __getitem__(self, number: int):
        rng = np.random.default_rng(number)
        if number % BATCH < BATCH // 2:
            return Sample(turn(f"is it {number}?", "no"), "text")
        content = [{"type": "text", "text": "what is it?"}]
        if self.pictures:
            pixels = rng.integers(0, 256, (28, 28 * int(rng.integers(1, 3)), 3), dtype=np.uint8)
            content.append({"type": "image", "image": Image.fromarray(pixels)})
        if self.speech:
            noise = 0.1 * rng.standard_normal(int(rng.integers(3000, 9000))).astype(np.float32)
            content.append({"type": "audio", "audio": noise, "transcript": "who is it"})
        asked, answer = turn(content, LONG[number % 9 :])
        complete = {"complete": number % 3 > 0} if self.speech and self.pictures else {}  # in 2.2
        return Sample([asked, answer | complete], "media")


def turn(asked: str | list[dict], answer: str) -> list[dict]:
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]


@dataclass
class Tones:
    """Speech of two pitches, the second half of each step's longer than the first."""

    sample_rate: int
    measures: tuple[str, ...] = ("tones",)

    def text(self, index: int) -> str:
        return "ab" if index % BATCH < BATCH // 2 else "abbaba"

    def seconds(self, index: int) -> float:
        return 0.2 * len(self.text(index))

    def utterance(self, index: int) -> tuple[np.ndarray, str]:
        time_ = np.arange(int(0.2 * self.sample_rate)) / self.sample_rate
        pitch = 300 + index % 7
        waves = [np.sin(2 * np.pi * (pitch if letter == "a" else 2 * pitch) * time_) for letter in self.text(index)]
        noise = np.random.default_rng(index).standard_normal(len(waves) * len(time_))
        return (0.2 * np.concatenate(waves) + 0.01 * noise).astype(np.float32), self.text(index)

    def held_out(self, measure: str, index: int) -> tuple[np.ndarray, str]:
        return self.utterance(1_000_000 + index)


def stage_of(name: str) -> Stage:
    return adapted(find_stage("2.2")) if name == BY_LORA else find_stage(name)


@contextmanager
def small() -> Iterator[None]:
    """Inside, few samples are measured and held out, a codec's codes start early, and sums are exact."""
    with ExitStack() as stack:
        for module in (ctc, speech_decoder, codec):
            stack.enter_context(patch.object(module, "VALIDATED", 5))
        stack.enter_context(patch.object(ctc, "MEASURED", 5))
        stack.enter_context(patch.multiple(codec, START_AFTER=300, SPEAKER_START_AFTER=16))
        stack.enter_context(patch.object(precision, "cpu_prefers_bf16", lambda: False))
        yield


def objective(name: str, schedule: Schedule) -> Objective:
    """Of a stage, with fresh weights."""
    stage, sizes = stage_of(name), config()
    torch.manual_seed(1)
    model = Parley(sizes, stage.loads)
    if name == BY_LORA:
        inject(model.language, LoraOptions(rank=4, dropout=0))
    use_eager_attention(model, CPU)
    match stage.objective:
        case "next_token":
            use_packed_attention(model.language)
            parts = stage.loads
            data = Dialogs(schedule, tokenizer(), "speech_adapter" in parts, "vision_adapter" in parts)
            return NextTokenObjective(stage, model, data, 0)
        case "ctc":
            return CtcObjective(model, Tones(16_000), 0, batch_size=BATCH, frames=schedule.tokens)
        case "codec":
            return CodecObjective(model, Tones(24_000), 0, batch_size=BATCH, adversary_after=12, tokens=schedule.tokens)
        case "speech_decoder":
            return SpeechDecoderObjective(
                model, Tones(24_000), 0, tokenizer=tokenizer(), batch_size=BATCH, pool=16, tokens=schedule.tokens
            )
    raise AssertionError(stage.objective)


def trainer(
    name: str, folder: Path, *, tokens: int = 32_768, save_every: int = 1000, recompute: bool = False
) -> Trainer:
    schedule = Schedule(
        lr=LR, batch=BATCH, steps=STEPS, tokens=tokens, sequence_length=256, weight_decay=0.01, save_every=save_every,
        validate_every=STOPPED,  # so that the state is saved just after a validation, which leaves weights gathered
    )  # fmt: skip
    return Trainer(
        stage_of(name), schedule, objective(name, schedule), folder, device=CPU,
        identity={"stage": name, "recipe": {}}, options=Options(recompute=recompute),
    )  # fmt: skip


def losses(made: Trainer) -> list[dict[str, float]]:
    """Trains to the end. Returns the metrics of each step, and of the validation."""
    found: list[dict[str, float]] = []
    step = made.train_step

    def recorded(passes):
        found.append(step(passes))
        return found[-1]

    made.train_step = recorded
    found.append(made.run())
    return found


def all_stages(folder: Path) -> dict[str, list[dict[str, float]]]:
    return {name: losses(trainer(name, folder / name)) for name in NAMES}


# What a process does


def train_all(folder: Path) -> None:
    """Every stage; the main process writes what it measured."""
    found = all_stages(folder)
    if rank() == 0:
        (folder / "found.json").write_text(json.dumps(found))


def train_in_bf16(folder: Path) -> None:
    """Some stages, computed as on a GPU: weights gathered in bf16, frozen parts in bf16."""
    trainer_module.precision_for = lambda device, mixed: Precision(weights=torch.bfloat16 if mixed else torch.float32)
    found = {name: losses(trainer(name, folder / name)) for name in IN_BF16}
    if rank() == 0:
        (folder / "found.json").write_text(json.dumps(found))


def matrices(folder: Path) -> None:
    """Muon's steps on sharded matrices."""
    module = attention()
    for layer in module.values():
        fully_shard(layer)
    stepped = muon_steps(module)
    if rank() == 0:
        torch.save(stepped, folder / "matrices.pt")


def attention() -> torch.nn.ModuleDict:
    """Matrices whose rows the processes cannot share equally; one has fewer rows than there are processes."""
    torch.manual_seed(0)
    sizes = ((4, 5), (6, 4), (4, 1), (3, 7))
    return torch.nn.ModuleDict(
        {f"attention{number}": torch.nn.Linear(*size, bias=False) for number, size in enumerate(sizes)}
    )


def muon_steps(module: torch.nn.ModuleDict) -> list[torch.Tensor]:
    """The whole matrices after some steps of Muon with gradients that are the same everywhere."""
    [muon] = build_optimizers({"part": module}, Schedule(lr=1e-2, batch=1, muon=2e-2))
    for _ in range(4):
        for parameter in module.parameters():
            gradient = torch.randn(parameter.shape)
            sharded = isinstance(parameter, DTensor)
            parameter.grad = (
                distribute_tensor(gradient, parameter.device_mesh, parameter.placements) if sharded else gradient
            )
        muon.step()
    return [whole(parameter).detach() for parameter in module.parameters()]


def stop_early(folder: Path) -> None:
    """Stage 2.2, stopped at its twelfth step."""
    made = trainer("2.2", folder)
    step = made.train_step

    def stopping(passes):
        made.stopping = made.step == STOPPED - 1
        return step(passes)

    made.train_step = stopping
    try:
        made.run()
    except StageInterruptionError:
        return
    raise AssertionError("it did not stop")


def go_on(folder: Path) -> None:
    """Stage 2.2, from where it was stopped."""
    made = trainer("2.2", folder)
    assert made.resume()
    first, found = made.step, losses(made)
    if rank() == 0:
        (folder / "found.json").write_text(json.dumps({"first": first, "found": found}))


def slow_save(folder: Path) -> None:
    """Stage 1.1, whose second state is never whole: its metadata waits."""
    from torch.distributed.checkpoint.filesystem import FileSystemWriter

    finish, calls = FileSystemWriter.finish, []

    def late(self, metadata, results):
        calls.append(None)
        if len(calls) == 2:
            (folder / "saving").touch()
            time.sleep(600)
        return finish(self, metadata, results)

    FileSystemWriter.finish = late
    trainer("1.1", folder, save_every=5).run()


def not_finite(folder: Path) -> None:
    """Stage 1.2; in the third step the weights of the second process become NaN in its forward pass."""
    made = trainer("1.2", folder)
    forward = made.objective.forward

    def broken(batch, step=0):
        sums = forward(batch, step)
        return {name: value * float("nan") if rank() == 1 and step == 2 else value for name, value in sums.items()}

    made.objective.forward = broken
    made.run()


def bad_sample(folder: Path) -> None:
    """Stage 1.2; the second process meets a sample that is too long."""
    made = trainer("1.2", folder)
    made.objective.schedule = replace(made.objective.schedule, sequence_length=40)
    made.run()


def lose_one(folder: Path) -> None:
    """Stage 1.1; the second process is killed before its third step."""
    made = trainer("1.1", folder)
    step = made.train_step

    def killed(passes):
        if rank() == 1 and made.step == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(passes)

    made.train_step = killed
    made.run()


def start(world_size: int, task: str, folder: Path) -> list[subprocess.Popen]:
    """The processes of a task."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, __file__, json.dumps([world_size, task, str(folder)])]
    shared = {"WORLD_SIZE": str(world_size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    shared |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    return [
        subprocess.Popen(command, env=os.environ | shared | {"RANK": str(number), "LOCAL_RANK": str(number)},
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for number in range(world_size)
    ]  # fmt: skip


def kill(processes: list[subprocess.Popen]) -> None:
    for process in processes:
        process.send_signal(signal.SIGKILL)
    for process in processes:
        process.communicate()


def main(argument: str) -> int:
    world_size, task, folder = json.loads(argument)
    torch.set_num_threads(1)
    try:
        with small(), process_group(world_size, []):
            globals()[task](Path(folder))
    except ValueError as error:
        return end(error)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
