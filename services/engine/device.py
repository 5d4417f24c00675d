"""The device of an engine, and the settings that follow from it and from the size of the model.

`resolve` replaces every `auto` of a service's settings; the choices themselves are pure functions.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from parley.config import ParleyConfig
from parley.models.parley import build_part
from parley.precision import cpu_prefers_bf16
from services.engine.settings import AUTO, ServiceSettings

S = TypeVar("S", bound=ServiceSettings)

KINDS = ("cpu", "cuda")  # of devices, as torch names them
NANO_PARAMETERS = 50_000_000  # a service with fewer parameters is nano-sized: more threads or bfloat16 gain nothing


def resolve(settings: S, config: ParleyConfig, parts: Sequence[str]) -> S:
    """A copy of the settings in which no value is `auto`, for a service that runs these parts of a model."""
    size = num_parameters(config, parts)
    device = choose_device(settings.device, torch.cuda.device_count())
    kind = device_kind(device)
    chosen = {
        "device": device,
        "dtype": choose_dtype(size, lambda: has_fast_bf16(kind)),
        "threads": choose_threads(kind, size, len(os.sched_getaffinity(0))),
        **settings.DEVICE_DEFAULTS[kind],
    }
    return settings.model_copy(
        update={name: value for name, value in chosen.items() if getattr(settings, name) == AUTO}
    )


def choose_device(wanted: str, num_gpus: int) -> str:
    """The torch device. Raises `ValueError` for a name that torch does not know, another kind and a missing GPU."""
    if wanted == AUTO:
        return "cuda:0" if num_gpus else "cpu"
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise ValueError(f"no device {wanted!r}; use auto, cpu or cuda:0") from None
    if device.type not in KINDS:
        raise ValueError(f"engines do not run on {wanted}; use auto, cpu or cuda:0")
    if device.type == "cuda" and (device.index or 0) >= num_gpus:
        raise ValueError(f"no device {wanted}: torch finds {num_gpus} GPUs; use auto or cpu")
    return wanted


def device_kind(device: str) -> str:
    """`cpu` or `cuda`."""
    return torch.device(device).type


def choose_dtype(size: int, has_fast_bf16: Callable[[], bool]) -> str:
    """The number format of the weights.

    Args:
        size: parameters of the service's parts.
        has_fast_bf16: called only for a large model, because it may have to measure.
    """
    return "bfloat16" if size >= NANO_PARAMETERS and has_fast_bf16() else "float32"


def choose_threads(kind: str, size: int, cores: int) -> int:
    """Torch threads of an engine: half the cores for a large model on a CPU, where other services compute too."""
    return max(1, cores // 2) if kind == "cpu" and size >= NANO_PARAMETERS else 1


def has_fast_bf16(kind: str) -> bool:
    """Whether bfloat16 is built into the device. Measured on a CPU."""
    return cpu_prefers_bf16() if kind == "cpu" else torch.cuda.is_bf16_supported(including_emulation=False)


def num_parameters(config: ParleyConfig, parts: Sequence[str]) -> int:
    """Parameters of some parts of a model, counted without allocating them."""
    with torch.device("meta"):
        modules = [build_part(part, config) for part in parts]
    return sum(parameter.numel() for module in modules for parameter in module.parameters())
