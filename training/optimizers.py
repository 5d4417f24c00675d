"""The optimizers of a stage and their learning rates: AdamW, and Muon for attention matrices where the schedule asks.

What a parameter is decides, not its shape. The weights of linear layers and convolutions are decayed. Embedding tables,
norms, biases, gains, class tokens, positions and speech prompts are not, and Muon never has them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from training.distributed.muon import Muon
from training.recipe import Schedule

MULTIPLY = (
    nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
)  # fmt: skip
# `original1` is the direction of a convolution whose weight is normalised; `original0`, its length, is a gain.
WEIGHTS = ("weight", "original1")


def build_optimizers(modules: dict[str, nn.Module], schedule: Schedule) -> list[Optimizer]:
    """The optimizers of what the modules train, by name of the part. Each group holds its peak learning rate as "peak".

    Call it after the modules were sharded: the parameters before are others.
    """
    groups, muon_groups = [], []
    for part, module in modules.items():
        peak = schedule.lr_of.get(part, schedule.lr)
        attention, weights, others = sort_parameters(module)
        if schedule.muon:
            muon_groups += _groups(attention, schedule.muon * peak / schedule.lr)
        else:
            weights = attention + weights
        groups += _groups(weights, peak, weight_decay=schedule.weight_decay) + _groups(others, peak, weight_decay=0.0)
    optimizers: list[Optimizer] = []
    if groups:
        optimizers.append(torch.optim.AdamW(groups, lr=schedule.lr, betas=schedule.betas, fused=True))
    if muon_groups:
        # Scaled so that an update is as large as AdamW's would be.
        optimizers.append(Muon(muon_groups, weight_decay=0.0, momentum=0.95, adjust_lr_fn="match_rms_adamw"))
    return optimizers


def sort_parameters(module: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter], list[nn.Parameter]]:
    """The trained parameters: attention matrices, other weights of linear layers and convolutions, all others."""
    weights = set(_weights(module))
    attention, other_weights, others = [], [], []
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        if name not in weights:
            others.append(parameter)
        elif parameter.ndim == 2 and ("attn" in name or "attention" in name):
            attention.append(parameter)
        else:
            other_weights.append(parameter)
    return attention, other_weights, others


def build_adversary_optimizer(adversary: nn.Module, schedule: Schedule) -> Optimizer:
    """The optimizer of the module that is trained against the parts (`training.objectives`)."""
    groups = [_group(list(adversary.parameters()), schedule.lr)]
    return torch.optim.AdamW(groups, lr=schedule.lr, betas=(0.8, 0.99), weight_decay=0.0, fused=True)


def set_learning_rate(optimizer: Optimizer, share: float) -> None:
    """Sets each group's learning rate to that share of its peak."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share


def optimizer_tensors(optimizer: Optimizer, prefix: str, named: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    """The optimizer's state as PREFIX.PARAMETER.NAME, for the parameters that are its own."""
    mine = {id(p) for group in optimizer.param_groups for p in group["params"]}
    return {
        f"{prefix}.{name}.{key}": value
        for name, parameter in named.items()
        if id(parameter) in mine
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def restore_optimizer(
    optimizer: Optimizer, prefix: str, named: dict[str, nn.Parameter], shapes: dict[str, torch.Size]
) -> dict[str, Tensor]:
    """Gives the optimizer a state to be read into: tensors of zeros, of those names in `shapes`. Returns these."""
    mine = {id(p) for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in named.items():
        start = f"{prefix}.{name}."
        keys = [key.removeprefix(start) for key in shapes if key.startswith(start)] if id(parameter) in mine else []
        for key in keys:
            like_parameter = shapes[start + key] == parameter.shape and parameter.ndim > 0
            zeros = torch.zeros_like(parameter) if like_parameter else torch.zeros((), device=parameter.device)
            optimizer.state[parameter][key] = zeros
    return optimizer_tensors(optimizer, prefix, named)


def share_of_peak(step: int, schedule: Schedule) -> float:
    """Learning rate at a step as a share of the peak: linear warm-up, then cosine decay to `floor`."""
    warmup = max(1, round(schedule.steps * schedule.warmup))
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, schedule.steps - warmup)
    return schedule.floor + (1 - schedule.floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def _weights(module: nn.Module) -> Iterable[str]:
    """Names of the weights of linear layers and convolutions. A table that is also the output layer is a table."""
    tables = {id(table.weight) for table in module.modules() if isinstance(table, nn.Embedding)}
    for path, layer in module.named_modules():
        if isinstance(layer, MULTIPLY):
            for name, parameter in layer.named_parameters(path):
                if name.endswith(WEIGHTS) and id(parameter) not in tables:
                    yield name


def _group(parameters: list[nn.Parameter], peak: float, **options: float) -> dict:
    return {"params": parameters, "lr": peak, "peak": peak, **options}


def _groups(parameters: list[nn.Parameter], peak: float, **options: float) -> list[dict]:
    """A group of the sharded parameters and one of the others: fused AdamW refuses both in one."""
    sharded = [parameter for parameter in parameters if isinstance(parameter, DTensor)]
    whole = [parameter for parameter in parameters if not isinstance(parameter, DTensor)]
    return [_group(chosen, peak, **options) for chosen in (sharded, whole) if chosen]
