"""The device that trains, and what it computes in.

Notable points:
- A GPU computes in bf16: the weights of trained parts are kept in fp32 and gathered in bf16 (`sharding`), frozen parts
  are in bf16 altogether.
- A CPU may have bf16 or emulate it, so it is measured (`parley.precision`). Where it is faster, matrix products are in
  bf16; all weights are in fp32.
- On a CPU the backward pass of fused attention is slow, in bf16 above all: for sequences as short as those of `nano`,
  plain matrix products and a softmax take a third of the time.
- Gradients are summed, and optimizer states kept, in fp32.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import PreTrainedModel

from parley.precision import cpu_prefers_bf16


@dataclass(frozen=True)
class Precision:
    """What a stage computes in."""

    weights: torch.dtype = torch.float32  # of frozen parts, and of trained ones while they compute
    autocast: bool = False  # bf16 in matrix products alone

    def context(self, device: torch.device) -> AbstractContextManager:
        """For the forward pass."""
        if not self.autocast:
            return nullcontext()
        stack = ExitStack()
        stack.enter_context(torch.autocast(device.type, torch.bfloat16))
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        return stack


def precision_for(device: torch.device, mixed: bool) -> Precision:
    """`mixed`: whether the stage is precise enough in bf16."""
    if not mixed:
        return Precision()
    if device.type == "cuda":
        return Precision(weights=torch.bfloat16)
    return Precision(autocast=cpu_prefers_bf16())


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
