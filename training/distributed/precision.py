"""The device that trains, and mixed precision: bf16 matrix products where the device is faster with them.

Notable points:
- A GPU has bf16. A CPU may have it (AVX-512 BF16, AMX: twice as fast as fp32) or emulate it (fifty times slower), so
  it is measured.
- On a CPU the backward pass of fused attention is slow, in bf16 above all: for sequences as short as those of `nano`,
  plain matrix products and a softmax take a third of the time.
- Weights, gradients and optimizer states stay in fp32.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, contextmanager
from functools import cache

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import PreTrainedModel

MIN_SPEEDUP = 1.4  # of bf16 over fp32, for it to be chosen
SIDE = 512  # of the matrices that are timed


def best_device() -> torch.device:
    """The GPU of this process if there is one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    return torch.device("cpu")


@cache
def cpu_is_faster_in_bf16() -> bool:
    """Whether this CPU multiplies matrices clearly faster in bf16 than in fp32. Takes some milliseconds."""
    return matmul_seconds(torch.float32) > MIN_SPEEDUP * matmul_seconds(torch.bfloat16)


def matmul_seconds(dtype: torch.dtype, tries: int = 10) -> float:
    """The shortest time of several products of two matrices: other processes can only make one slower."""
    a, taken = torch.ones(SIDE, SIDE, dtype=dtype), []
    for _ in range(tries):
        start = time.perf_counter()
        a @ a
        taken.append(time.perf_counter() - start)
    return min(taken)


def use_eager_attention(model: nn.Module, device: torch.device) -> None:
    """On a CPU, makes the `transformers` networks of the model compute attention as plain matrix products."""
    if device.type == "cpu":
        for module in model.modules():
            if isinstance(module, PreTrainedModel):
                module.set_attn_implementation("eager")


def matmul_dtype(device: torch.device) -> torch.dtype:
    """What matrix products are computed in at this moment."""
    return torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else torch.float32


@contextmanager
def mixed_precision(device: torch.device):
    """Inside, matrix products are in bf16 if `device` is faster with it, else in fp32."""
    with ExitStack() as stack:
        if device.type == "cuda":
            stack.enter_context(torch.autocast("cuda", torch.bfloat16))
        elif cpu_is_faster_in_bf16():
            stack.enter_context(torch.autocast("cpu", torch.bfloat16))
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        yield
