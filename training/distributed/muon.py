"""Muon for sharded matrices: each is gathered once a step and made orthogonal by one process.

`torch.optim.Muon` multiplies the shares as they are: every product of the iteration gathers its factors again, in all
processes, and sums in bf16 in an order that depends on how many there are.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor, Shard
from torch.optim._muon import _adjust_lr, _zeropower_via_newtonschulz


class ShardedMuon(torch.optim.Muon):
    """`torch.optim.Muon` of matrices that FSDP2 has sharded by rows over all processes."""

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            parameters, gradients, momenta = [], [], []  # the same ones in every process
            self._init_group(group, parameters, gradients, momenta)
            owned: dict[int, Tensor] = {}
            for number, (gradient, momentum) in enumerate(zip(gradients, momenta, strict=True)):
                update = _update(gradient, momentum, group).full_tensor()
                if number % dist.get_world_size() == dist.get_rank():
                    owned[number] = _zeropower_via_newtonschulz(
                        update, group["ns_coefficients"], group["ns_steps"], group["eps"]
                    )
            for number, parameter in enumerate(parameters):
                _apply(parameter, _from_owner(owned.get(number), number, parameter), group)


def _update(gradient: DTensor, momentum: DTensor, group: dict) -> DTensor:
    """The gradient with momentum, sharded as the gradient is. Brings `momentum` up to date."""
    assert gradient.placements == (Shard(0),)
    local, buffer = gradient.to_local(), momentum.to_local()
    buffer.lerp_(local, 1 - group["momentum"])
    update = local.lerp(buffer, group["momentum"]) if group["nesterov"] else buffer
    return DTensor.from_local(
        update, gradient.device_mesh, gradient.placements, shape=gradient.shape, stride=gradient.stride()
    )


def _from_owner(direction: Tensor | None, number: int, parameter: DTensor) -> Tensor:
    """What the process that owns this matrix has computed [rows, columns], bf16."""
    if direction is None:
        direction = torch.empty(parameter.shape, dtype=torch.bfloat16, device=parameter.device)
    direction = direction.contiguous()
    dist.broadcast(direction, number % dist.get_world_size())
    return direction


def _apply(parameter: DTensor, direction: Tensor, group: dict) -> None:
    local, rows = parameter.to_local(), -(-parameter.shape[0] // dist.get_world_size())
    first = dist.get_rank() * rows
    local.mul_(1 - group["lr"] * group["weight_decay"])
    rate = _adjust_lr(group["lr"], group["adjust_lr_fn"], parameter.shape)
    local.add_(direction[first : first + len(local)], alpha=-rate)
