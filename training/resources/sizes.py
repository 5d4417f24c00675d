"""How many parameters each part of a model has, and how they are spread over its blocks. Nothing is allocated."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import nn

from parley.config import ParleyConfig
from parley.models.parley import build_part, parts_of
from training.distributed.sharding import BLOCKS
from training.lora import ADAPTED


@dataclass(frozen=True)
class PartSize:
    """Numbers of parameters."""

    parameters: int
    block: int = 0  # of one block
    blocks: int = 0  # of all blocks
    inner: int = 0  # inputs and outputs of the linear layers that LoRA adapts, added up
    adapted: int = 0  # weights of these layers

    def adapters(self, rank: int) -> int:
        """Parameters of LoRA's adapters."""
        return rank * self.inner


@lru_cache(maxsize=4)
def measure(config: ParleyConfig) -> dict[str, PartSize]:
    """The sizes of the parts that a model of this config has, in order."""
    return {part: _measure_part(part, config) for part in parts_of(config)}


def _measure_part(part: str, config: ParleyConfig) -> PartSize:
    with torch.device("meta"):
        module = build_part(part, config)
    if part not in BLOCKS:
        return PartSize(_count(module))
    blocks = module.get_submodule(BLOCKS[part])
    adapted = [layer for name, layer in blocks.named_modules() if name.endswith(ADAPTED)] if part == "language" else []
    return PartSize(
        _count(module), _count(blocks[0]), _count(blocks),
        inner=sum(layer.in_features + layer.out_features for layer in adapted),
        adapted=sum(layer.weight.numel() for layer in adapted),
    )  # fmt: skip


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
