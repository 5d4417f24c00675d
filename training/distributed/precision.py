"""The device that trains, and mixed precision: bf16 matrix products where the device is faster with them.

Notable points:
- A GPU has bf16. A CPU may have it or emulate it, so it is measured (`parley.precision`).
- On a CPU the backward pass of fused attention is slow, in bf16 above all: for sequences as short as those of `nano`,
  plain matrix products and a softmax take a third of the time.
- Weights, gradients and optimizer states stay in fp32.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import PreTrainedModel

from parley.precision import cpu_prefers_bf16


def best_device() -> torch.device:
    """The GPU of this process if there is one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    return torch.device("cpu")


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
        elif cpu_prefers_bf16():
            stack.enter_context(torch.autocast("cpu", torch.bfloat16))
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        yield
