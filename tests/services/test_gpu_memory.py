"""The defaults of every service of `vita-7b` fit a GPU of 80 GB, counted on tensors that have no memory ("meta").

Counted are the weights, what an engine allocates when it starts, and the most that a step with its largest batch holds
at a time. Scores of attention are not: kernels of a GPU do not keep them.
"""

from __future__ import annotations

from collections.abc import Iterable
from weakref import WeakSet

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from parley.config import preset
from parley.models.codec import overlap
from parley.models.parley import build_part
from parley.models.speech_decoder_step import BLOCK, DecoderStep
from parley.models.speech_step import SlotBlocks, SlotSteps, StepState, reach
from services.llm_core import kv_cache
from services.llm_core.batch import Chunk, build_batch
from services.llm_core.kv_cache import ATTENTION, SlotCache
from services.llm_core.limits import Device, choose_limits
from services.llm_core.settings import LlmCoreSettings
from services.speech_decoder.settings import SpeechDecoderSettings
from services.speech_encoder.settings import SpeechEncoderSettings
from services.vision_encoder.settings import VisionEncoderSettings

GB = 10**9
GPU = 80 * GB
CONTEXT = GB  # of a process's CUDA context and libraries, an estimate
CONFIG = preset("vita-7b")
META, DTYPE = torch.device("meta"), torch.bfloat16


class Peak(TorchDispatchMode):
    """The most bytes that tensors made inside held at a time; what is in `held` is not counted."""

    def __init__(self, *held: nn.Module | torch.Tensor) -> None:
        super().__init__()
        self.others = set(storages(*held))
        self.made: WeakSet[torch.UntypedStorage] = WeakSet()
        self.bytes = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        outputs = function(*args, **(kwargs or {}))
        self.made.update(each.untyped_storage() for each in tree_leaves(outputs) if isinstance(each, torch.Tensor))
        sizes = {storage._cdata: storage.nbytes() for storage in self.made}
        self.bytes = max(self.bytes, sum(size for place, size in sizes.items() if place not in self.others))
        return outputs


def storages(*held: nn.Module | torch.Tensor) -> dict[int, int]:
    """Each storage and its bytes."""
    whole = [each for one in held for each in (tensors(one) if isinstance(one, nn.Module) else (one,))]
    return {each.untyped_storage()._cdata: each.untyped_storage().nbytes() for each in whole}


def tensors(module: nn.Module) -> Iterable[torch.Tensor]:
    yield from module.parameters()
    yield from module.buffers()


def size(*held: nn.Module | torch.Tensor) -> int:
    """Bytes."""
    return sum(storages(*held).values())


def part(name: str) -> nn.Module:
    with META:
        return build_part(name, CONFIG).eval().to(DTYPE)


def largest(settings: type, name: str) -> int:
    """A limit as it is chosen on a GPU."""
    return settings.DEVICE_DEFAULTS["cuda"][name]


@pytest.fixture(autouse=True)
def masks(monkeypatch):
    """`causal_lower_right` cannot be made in `Peak`; here a mask is, as where no kernel knows it."""
    monkeypatch.setattr(
        kv_cache, "causal_lower_right", lambda rows, columns: torch.ones(rows, columns, device=META).tril() > 0
    )


@torch.inference_mode()
def vision_encoder() -> tuple[int, int]:
    """(weights and what is allocated at the start, what a step holds): bytes."""
    encoder, adapter = part("vision_encoder"), part("vision_adapter")
    side, tiles = CONFIG.vision.image_size, largest(VisionEncoderSettings, "max_batch")
    with Peak(encoder, adapter) as step:
        adapter(encoder(torch.empty(tiles, 3, side, side, device=META, dtype=DTYPE)))
    return size(encoder, adapter), step.bytes


@torch.inference_mode()
def speech_encoder() -> tuple[int, int]:
    modules = [part(name) for name in ("speech_encoder", "speech_adapter", "ctc_head")]
    count = largest(SpeechEncoderSettings, "max_batch")
    capacity, seconds = largest(SpeechEncoderSettings, "max_utterances"), SpeechEncoderSettings().max_seconds
    steps = SlotSteps(*modules, capacity=capacity, max_seconds=seconds)
    started = size(*modules, *steps.cache, steps.pending, steps.frames)
    with Peak(*modules, *steps.cache) as step:
        features = torch.empty(count, reach(steps.chunk_size), CONFIG.speech.num_mel_bins, device=META, dtype=DTYPE)
        slots = torch.empty(count, dtype=torch.int64, device=META)
        state = StepState(SlotBlocks(steps.cache, slots, slots), steps.pending[slots], steps.frames[slots])
        steps.network(features, slots, slots > 0, state)
    return started, step.bytes


@torch.inference_mode()
def speech_decoder() -> tuple[int, int]:
    decoder, codec = part("speech_decoder"), part("codec_decoder")
    config, settings = CONFIG.speech_decoder, SpeechDecoderSettings()
    table = torch.empty(CONFIG.language.vocab_size, CONFIG.language.hidden_size, device=META, dtype=DTYPE)
    count = largest(SpeechDecoderSettings, "max_batch")
    frames = int(settings.max_clause_seconds * CONFIG.codec.sample_rate / codec.hop_length)
    capacity = -(-(1 + settings.max_clause_tokens * decoder.cuts + 1 + frames) // BLOCK) * BLOCK
    slots = decoder.slots(count, capacity)
    slots._resize(capacity)
    with Peak(decoder, slots.past) as step:
        tokens = torch.zeros(count, dtype=torch.long, device=META)
        DecoderStep(decoder)(tokens, tokens.float(), tokens, *slots.past)
    chunk = sum(overlap(codec, config.overlap_tokens)) + (settings.chunk_tokens or config.chunk_tokens)
    with Peak(codec) as decoding:
        codes = torch.zeros(count, chunk, dtype=torch.long, device=META)
        codec(codes, codes[:, : CONFIG.codec.num_speaker_tokens])
    growing = size(slots.past)  # that of slots that become longer is copied
    return size(decoder, codec, table, slots.past), max(step.bytes, decoding.bytes, growing)


@torch.inference_mode()
def llm_core(free: int) -> tuple[int, int]:
    language, heads = part("language"), [part("state_head"), part("end_of_turn_head"), part("speech_prompt")]
    weights = size(language, *heads)
    limits = choose_limits(CONFIG.language, DTYPE.itemsize, Device("cuda", free - weights, 16), LlmCoreSettings())
    assert limits.num_slots >= 8
    language.set_attn_implementation(ATTENTION)
    slots, length, prefill = limits.num_slots, limits.max_length, limits.prefill_tokens
    cache = SlotCache(language.config, slots, length, META, DTYPE)
    with Peak(language, cache.store) as step:
        decoding = [length - 2, *range(slots - 2)]
        batch = build_batch(decoding, [Chunk(slots - 1, length - prefill, prefill)], META, DTYPE)
        cache.begin(batch)
        embedded = torch.empty(1, len(batch), CONFIG.language.hidden_size, device=META, dtype=DTYPE)
        hidden = language.model(
            inputs_embeds=embedded, position_ids=batch.positions, attention_mask={"full_attention": None},
            past_key_values=cache, use_cache=True, slots=cache,
        ).last_hidden_state  # fmt: skip
        language.lm_head(hidden[0, :slots]).float().softmax(-1)
    return weights + size(cache.store) + limits.idle_bytes, step.bytes


ENCODERS = {"vision_encoder": vision_encoder, "speech_encoder": speech_encoder, "speech_decoder": speech_decoder}


@pytest.mark.parametrize("name", ENCODERS)
def test_a_service_fits_a_gpu_of_its_own(name):
    assert CONTEXT + sum(ENCODERS[name]()) < GPU


def test_the_llm_core_fits_a_gpu_of_its_own():
    assert CONTEXT + sum(llm_core(GPU - CONTEXT)) < GPU


def test_all_four_fit_one_gpu_where_the_llm_core_starts_last():
    others = {name: CONTEXT + sum(measured()) for name, measured in ENCODERS.items()}
    left = GPU - sum(others.values()) - CONTEXT
    assert sum(llm_core(left)) < left, others
