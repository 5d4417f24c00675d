"""The optimizers of a stage and their learning rates: AdamW, and Muon for attention matrices where the schedule asks.

Norms, biases and other one-dimensional parameters are not decayed.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.optim import Optimizer

from training.recipe import Schedule


def build_optimizers(modules: dict[str, nn.Module], schedule: Schedule) -> list[Optimizer]:
    """The optimizers of the trained modules, by name of the part. Each group holds its peak learning rate as "peak"."""
    groups, matrices = [], []
    for part, module in modules.items():
        peak = schedule.lr_of.get(part, schedule.lr)
        rest = dict(module.named_parameters())
        if schedule.muon:
            attention = [rest.pop(name) for name in _attention_matrices(rest)]
            matrices += [_group(attention, schedule.muon * peak / schedule.lr)] if attention else []
        groups += _decayed_and_not(list(rest.values()), peak, schedule.weight_decay)
    optimizers: list[Optimizer] = [torch.optim.AdamW(groups, lr=schedule.lr, betas=schedule.betas, fused=True)]
    if matrices:
        # Scaled so that an update is as large as AdamW's would be.
        optimizers.append(torch.optim.Muon(matrices, weight_decay=0.0, momentum=0.95, adjust_lr_fn="match_rms_adamw"))
    return optimizers


def build_adversary_optimizer(adversary: nn.Module, schedule: Schedule) -> Optimizer:
    """The optimizer of the module that is trained against the parts (`training.objectives`)."""
    groups = [_group(list(adversary.parameters()), schedule.lr)]
    return torch.optim.AdamW(groups, lr=schedule.lr, betas=(0.8, 0.99), weight_decay=0.0, fused=True)


def set_learning_rate(optimizer: Optimizer, share: float) -> None:
    """Sets each group's learning rate to that share of its peak."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share


def share_of_peak(step: int, schedule: Schedule) -> float:
    """Learning rate at a step as a share of the peak: linear warm-up, then cosine decay to `floor`."""
    warmup = max(1, round(schedule.steps * schedule.warmup))
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, schedule.steps - warmup)
    return schedule.floor + (1 - schedule.floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def _attention_matrices(parameters: dict[str, nn.Parameter]) -> list[str]:
    return [name for name, p in parameters.items() if p.ndim == 2 and ("attn" in name or "attention" in name)]


def _group(parameters: list[nn.Parameter], peak: float, **options: float) -> dict:
    return {"params": parameters, "lr": peak, "peak": peak, **options}


def _decayed_and_not(parameters: list[nn.Parameter], peak: float, weight_decay: float) -> list[dict]:
    matrices = [p for p in parameters if p.ndim >= 2]
    others = [p for p in parameters if p.ndim < 2]
    pairs = ((matrices, weight_decay), (others, 0.0))
    return [_group(chosen, peak, weight_decay=decay) for chosen, decay in pairs if chosen]
