"""How many requests of what length the engine holds at once, chosen from the model, the device and its free memory.

Notable points:
- A slot of the KV cache has room for the longest request, so slots × length × bytes a token is allocated at the start.
- The model's whole context is preferred; where fewer than `MIN_SLOTS` slots of it fit, the length is halved.
- What the settings fix is not chosen; the rest is fitted around it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from parley.config import LanguageConfig
from services.engine.settings import AUTO
from services.llm_core.settings import LlmCoreSettings

KV_SHARE = {"cpu": 0.3, "cuda": 0.7}  # of the free memory; a GPU's other services and activations need the rest
LIVE_SHARE = 5 / 7  # of that, for running requests; idle sessions get the rest
ENCODER_CACHE_SHARE = 1 / 4  # of what idle sessions get; it lies in the host's memory
MIN_ENCODER_CACHE = 64 << 20  # bytes: two of the largest pictures of a 7B model
MIN_SLOTS = 8  # as long as the length can be halved
MIN_LENGTH = 4096  # tokens; chosen lengths are not shorter where the context is longer
MAX_IDLE_SESSIONS = 128  # of the longest prompt: more memory than that is not taken
GPU_SLOTS, GPU_PREFILL_TOKENS = 64, 1024
SLOTS_PER_CORE, MIN_CPU_SLOTS = 8, 16
MIN_CPU_PREFILL, MAX_CPU_PREFILL = 32, 256  # tokens
STEP_SECONDS = 0.25  # that a step of prefill may take on a CPU: running answers wait for it
CORE_FLOPS = 2e11  # of one core in matrix products, an estimate
CGROUP = Path("/sys/fs/cgroup")  # where a container's own limit of memory is


@dataclass(frozen=True)
class Device:
    """Where the engine runs."""

    kind: str  # `cpu` or `cuda`
    free_bytes: int  # with the weights loaded
    cores: int  # of the CPU


@dataclass(frozen=True)
class Limits:
    """What is in force."""

    num_slots: int  # requests that compute at once
    max_length: int  # tokens of a prompt and its answer
    live_bytes: int  # KV cache of the slots
    idle_bytes: int  # KV cache of idle sessions
    prefill_tokens: int  # prompt tokens of one step
    encoder_cache_bytes: int


def choose_limits(config: LanguageConfig, dtype_bytes: int, device: Device, settings: LlmCoreSettings) -> Limits:
    """Raises `ValueError` where not even one slot fits, or where the settings do not fit the model or the memory."""
    token_bytes = kv_bytes_per_token(config, dtype_bytes)
    kv_bytes = _fixed(settings.kv_memory_mb, 1 << 20) or int(device.free_bytes * KV_SHARE[device.kind])
    num_slots, max_length = _slots(config, int(kv_bytes * LIVE_SHARE) // token_bytes, device, settings)
    live = num_slots * max_length * token_bytes
    if live > kv_bytes:
        raise ValueError(
            f"{num_slots} slots of {max_length} tokens need {live >> 20} MiB of KV cache, and {kv_bytes >> 20} MiB are "
            "there for it: raise kv_memory_mb, lower num_slots or max_length, or use a device with more memory"
        )
    idle = min(kv_bytes - live, MAX_IDLE_SESSIONS * max_length * token_bytes)
    return Limits(
        num_slots=num_slots,
        max_length=max_length,
        live_bytes=live,
        idle_bytes=idle,
        prefill_tokens=_fixed(settings.prefill_tokens) or _prefill_tokens(config, device),
        encoder_cache_bytes=_fixed(settings.encoder_cache_mb, 1 << 20) or _encoder_cache_bytes(idle),
    )


def measure(device: torch.device) -> Device:
    """The device as it is now."""
    cores = len(os.sched_getaffinity(0))
    if device.type == "cuda":
        return Device("cuda", torch.cuda.mem_get_info(device)[0], cores)
    return Device("cpu", min(psutil.virtual_memory().available, _free_in_container()), cores)


def kv_bytes_per_token(config: LanguageConfig, dtype_bytes: int) -> int:
    """Memory of one position of a sequence in the KV cache, over all layers."""
    return config.num_layers * 2 * config.num_kv_heads * (config.hidden_size // config.num_heads) * dtype_bytes


def _slots(config: LanguageConfig, tokens: int, device: Device, settings: LlmCoreSettings) -> tuple[int, int]:
    """(number of slots, their length) for a KV cache of `tokens`; at least one slot, whether it fits or not."""
    context = config.max_position_embeddings
    length = _fixed(settings.max_length) or context
    if length > context:
        raise ValueError(f"max_length is {length}, but the model's context is {context} tokens")
    fixed = _fixed(settings.num_slots)
    if settings.max_length == AUTO:
        while tokens // length < (fixed or MIN_SLOTS) and length // 2 >= MIN_LENGTH:
            length //= 2
    most = GPU_SLOTS if device.kind == "cuda" else max(SLOTS_PER_CORE * device.cores, MIN_CPU_SLOTS)
    return fixed or max(min(tokens // length, most), 1), length


def _prefill_tokens(config: LanguageConfig, device: Device) -> int:
    if device.kind == "cuda":
        return GPU_PREFILL_TOKENS
    attention = (
        2 * config.hidden_size * (config.hidden_size + config.hidden_size // config.num_heads * config.num_kv_heads)
    )
    weights = config.num_layers * (attention + 3 * config.hidden_size * config.intermediate_size)
    fitting = int(STEP_SECONDS * CORE_FLOPS * device.cores / (2 * weights))
    return min(max(fitting, MIN_CPU_PREFILL), MAX_CPU_PREFILL)


def _encoder_cache_bytes(idle_bytes: int) -> int:
    return max(int(idle_bytes * ENCODER_CACHE_SHARE), MIN_ENCODER_CACHE)


def _fixed(value: int | str, unit: int = 1) -> int:
    """A setting in bytes or tokens; 0 where it is to be chosen."""
    return 0 if value == AUTO else value * unit


def _free_in_container() -> int | float:
    """Bytes that the container's limit leaves; infinite where there is no limit."""
    try:
        limit, used = ((CGROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
    except OSError:
        return float("inf")
    return float("inf") if limit == "max" else max(int(limit) - int(used), 0)
