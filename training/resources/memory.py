"""What a stage needs: memory of each GPU, and room on the disk.

Notable points:
- Trained parts are sharded over the processes: fp32 weights, gradients and AdamW's two moments, 16 bytes a parameter.
- Frozen parts are whole in each process, in bf16, without gradients; the codec in fp32.
- A block is gathered in bf16 while it computes, and the next one with it. What is in no block (tables, output layer,
  adapters) is gathered for the whole pass. A gradient is bf16 until it is summed, in fp32.
"""

from __future__ import annotations

from dataclasses import dataclass

from parley.config import ParleyConfig
from training.distributed.sharding import PRECISE
from training.lora_options import LoraOptions
from training.objectives.codec import REFERENCE_TOKENS, SEGMENT_TOKENS
from training.recipe import Schedule, Stage
from training.resources.activations import BF16, FP32, activation_bytes
from training.resources.sizes import PartSize

MOMENTS = 2  # of AdamW
GATHERED_BLOCKS = 3  # the one that computes, the next one, and the buffer that this arrives in
LEARNED = 0.5  # share of a pass's tokens that the loss is taken of, at most: answers
LOGIT = BF16 + FP32 + FP32  # bytes: what the output layer writes, the same in fp32, and its softmax or gradient
RESERVE = 1.5e9  # CUDA's context, NCCL's buffers, cuBLAS's work space


@dataclass(frozen=True)
class Parameters:
    """Numbers of parameters of a stage."""

    trained: int
    frozen: int  # in bf16
    precise: int  # frozen, in fp32
    block: int  # of the largest block that is gathered
    outside: int  # trained, in no block


@dataclass(frozen=True)
class Memory:
    """Bytes in each GPU."""

    state: float  # of what is trained: weights, gradients, moments
    frozen: float
    gathered: float
    activations: float
    logits: float
    reserve: float = RESERVE

    @property
    def total(self) -> float:
        return self.state + self.frozen + self.gathered + self.activations + self.logits + self.reserve


@dataclass(frozen=True)
class Disk:
    """Bytes on the disk."""

    saved_state: float  # weights and moments; two are kept, and a third is there while it is written
    checkpoint: float  # the stage's own files


def parameters(stage: Stage, sizes: dict[str, PartSize], lora: LoraOptions | None = None) -> Parameters:
    """What a stage trains and what it only reads."""
    trains = [part for part in stage.trains if part in sizes]
    reads = [part for part in stage.reads if part in sizes and part not in trains]
    adapted = lora is not None and "language" in trains
    whole = [part for part in trains if part != "language" or not adapted]
    adapters = sizes["language"].adapters(lora.rank) if adapted else 0
    trained = sum(sizes[part].parameters for part in whole)
    frozen = [*(part for part in reads if part not in PRECISE), *(["language"] if adapted else [])]
    return Parameters(
        trained=trained + adapters,
        frozen=sum(sizes[part].parameters for part in frozen),
        precise=sum(sizes[part].parameters for part in reads if part in PRECISE),
        block=max((sizes[part].block for part in whole), default=0),
        outside=trained - sum(sizes[part].blocks for part in whole),
    )


def memory(
    stage: Stage, schedule: Schedule, config: ParleyConfig, sizes: dict[str, PartSize], gpus: int,
    lora: LoraOptions | None = None,
) -> Memory:  # fmt: skip
    """What each of `gpus` GPUs holds at the worst moment of a step."""
    counts = parameters(stage, sizes, lora)
    computed = BF16 if stage.mixed_precision else FP32
    gathered = computed * (counts.outside + GATHERED_BLOCKS * counts.block)
    gradient = (computed + FP32) * max(counts.outside, counts.block)
    tokens = pass_tokens(stage, schedule, gpus)
    learned = LEARNED * tokens if stage.objective == "next_token" else 0
    return Memory(
        state=(2 + MOMENTS) * FP32 * counts.trained / gpus,
        frozen=BF16 * counts.frozen + FP32 * counts.precise,
        gathered=gathered + gradient,
        activations=activation_bytes(stage, config, tokens, lora is not None),
        logits=LOGIT * learned * config.language.vocab_size,
    )


def pass_tokens(stage: Stage, schedule: Schedule, gpus: int) -> float:
    """The largest pass of a process. A sequence is never cut; in 3.1 a pass is no more than a process's share of a
    step."""
    if stage.objective == "next_token":
        return max(schedule.tokens, schedule.sequence_length)
    if stage.objective != "codec":
        return schedule.tokens
    return min(schedule.tokens, -(-schedule.batch // gpus) * (SEGMENT_TOKENS + REFERENCE_TOKENS))


def disk(stage: Stage, sizes: dict[str, PartSize], lora: LoraOptions | None = None) -> Disk:
    """What a stage writes. With LoRA the checkpoint holds the adapted weights in fp32, the others as they were."""
    counts = parameters(stage, sizes, lora)
    if lora is None or "language" not in stage.trains:
        return Disk((1 + MOMENTS) * FP32 * counts.trained, FP32 * counts.trained)
    language = sizes["language"]
    merged = FP32 * language.adapted + BF16 * (language.parameters - language.adapted)
    others = FP32 * (counts.trained - language.adapters(lora.rank))
    return Disk((1 + MOMENTS) * FP32 * counts.trained, merged + others)
