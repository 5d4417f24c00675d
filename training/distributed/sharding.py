"""Shards what a stage trains over the processes, with FSDP2; what it only reads is whole in each of them.

Notable points:
- Trained weights, their gradients and optimizer states are fp32, a share in each process. A unit's weights are gathered
  when it is called, in what the stage computes in, and freed after it; gradients are summed in fp32.
- Only modules that are called can be units: the blocks of the large networks. All else belongs to the objective, whose
  forward pass gathers it.
- Frozen parts have no gradient, no optimizer state and no communication.
- One process on a CPU is not sharded: that would only copy its weights.
- Collect parameters afterwards: sharding replaces them.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from training.distributed.activations import checkpointed
from training.distributed.precision import Precision
from training.distributed.process_group import start_alone, world_size
from training.objectives.objective import Objective
from training.recipe import Stage

BLOCKS = {"language": "model.layers", "vision_encoder": "tower.encoder.layer", "speech_encoder": "blocks"}
# Blocks return views of what they computed, for caches; nothing here writes into them.
warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")

PRECISE = ("codec_encoder", "codec_decoder")  # bf16 is not precise enough for phases


def shard(
    objective: Objective, stage: Stage, precision: Precision, device: torch.device, *, recompute: bool, compiled: bool
) -> None:
    """Moves the objective to the device and shards what has a gradient.

    Args:
        recompute: whether the blocks keep a part of their activations only (`training.distributed.activations`).
        compiled: whether the blocks are compiled.
    """
    frozen = {parameter for parameter in objective.parameters() if not parameter.requires_grad}
    place_frozen(objective.model, device, precision)
    blocks = list(blocks_with_gradients(objective.model, stage, recompute))
    if compiled:
        for block in blocks:
            block.compile()
    if device.type == "cpu" and world_size() == 1:
        masters(objective)
        return
    start_alone()
    options = {"mesh": init_device_mesh(device.type, (world_size(),)), "ignored_params": frozen}
    policy = MixedPrecisionPolicy(param_dtype=precision.weights, reduce_dtype=torch.float32)
    exact = MixedPrecisionPolicy(param_dtype=torch.float32, output_dtype=precision.weights)
    for block in blocks:
        if any(parameter.requires_grad for parameter in block.parameters()):
            fully_shard(masters(block), mp_policy=policy, **options)
    for norm in batch_norms(objective.model, stage):
        fully_shard(masters(norm), mp_policy=exact, **options)
    fully_shard(masters(objective), mp_policy=policy, **options)


def blocks_with_gradients(model: nn.Module, stage: Stage, recompute: bool) -> Iterator[nn.Module]:
    """The blocks of the large networks that the stage trains, or through which gradients flow to what it trains."""
    through = ("language",) if stage.objective == "next_token" else ()
    for part, path in BLOCKS.items():
        if part in (*stage.trains, *through):
            blocks = getattr(model, part).get_submodule(path)
            for number, block in enumerate(blocks):
                blocks[number] = checkpointed(block) if recompute else block
                yield blocks[number]


def batch_norms(model: nn.Module, stage: Stage) -> Iterator[nn.Module]:
    """They compute in fp32: `torch` normalises bf16 with bf16 statistics only."""
    for part in stage.trains:
        if part not in PRECISE:
            yield from (m for m in getattr(model, part).modules() if isinstance(m, nn.BatchNorm1d))


def masters(module: nn.Module) -> nn.Module:
    """The module with its trained weights in fp32."""
    for parameter in module.parameters():
        if parameter.requires_grad and not isinstance(parameter, DTensor):
            parameter.data = parameter.data.float()
    return module


def place_frozen(model: nn.Module, device: torch.device, precision: Precision) -> None:
    """Moves the weights without a gradient to the device, in what the stage computes in."""
    for part, module in model.named_children():
        dtype = torch.float32 if part in PRECISE else precision.weights
        for parameter in module.parameters():
            if not parameter.requires_grad:
                parameter.data = parameter.data.to(device, dtype)
    for buffer in model.buffers():
        buffer.data = buffer.data.to(device)


def whole(tensor: Tensor) -> Tensor:
    """A tensor of which each process may hold a share, whole. All processes must ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
