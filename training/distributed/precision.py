"""Which device trains, and how it computes fastest: bf16 where it is built for it, found by measuring.

Notable points:
- A GPU has bf16. A CPU may have it (AVX-512 BF16, AMX: twice as fast as fp32) or imitate it (fifty times slower).
- On a CPU attention's fused kernel is slow backwards, in bf16 above all: over rows as short as ours plain matrix
  products and a softmax take a third of the time.
- Weights, their gradients and the optimizer stay in fp32: only the matrix products are done in bf16.
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

GAIN = 1.4  # how much faster bf16 must be to be chosen
SIDE = 512  # of the matrices it is measured with


def best_device() -> torch.device:
    """The GPU of this process if it sees one, else the CPU."""
    return (
        torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if torch.cuda.is_available() else torch.device("cpu")
    )


@cache
def cpu_likes_bf16() -> bool:
    """Whether this CPU multiplies matrices in bf16 clearly faster than in fp32. Takes some milliseconds."""
    return seconds(torch.float32) > GAIN * seconds(torch.bfloat16)


def seconds(dtype: torch.dtype, tries: int = 10) -> float:
    """The quickest of some products of two matrices: what else runs on the machine can only make one slower."""
    a, taken = torch.ones(SIDE, SIDE, dtype=dtype), []
    for _ in range(tries):
        start = time.perf_counter()
        a @ a
        taken.append(time.perf_counter() - start)
    return min(taken)


def plain_attention(model: nn.Module, device: torch.device) -> None:
    """Where that is faster, lets the `transformers` networks in the model write their attention out."""
    if device.type == "cpu":
        for module in model.modules():
            if isinstance(module, PreTrainedModel):
                module.set_attn_implementation("eager")


def product_dtype(device: torch.device) -> torch.dtype:
    """What matrix products are computed in, here and now."""
    return torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else torch.float32


@contextmanager
def fastest(device: torch.device):
    """Inside, networks compute as fast as `device` can: mixed precision, or fp32 as it is."""
    with ExitStack() as stack:
        if device.type == "cuda":
            stack.enter_context(torch.autocast("cuda", torch.bfloat16))
        elif cpu_likes_bf16():
            stack.enter_context(torch.autocast("cpu", torch.bfloat16))
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        yield
