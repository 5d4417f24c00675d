"""Muon (Jordan et al., 2024), for whole matrices and for sharded ones.

Notable points:
- The update of a matrix is its gradient with momentum, made orthogonal by five steps of a Newton–Schulz iteration.
- `torch.optim.Muon` iterates in bf16, one matrix after the other. A CPU that emulates bf16 is ten times as fast in
  fp32, and a GPU waits for each of the many small products. Here matrices of one shape are iterated together, and on a
  CPU in what it multiplies faster.
- A sharded matrix is gathered once a step and made orthogonal by one process, which tells the others.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor, Shard
from torch.optim._muon import _adjust_lr

from parley.precision import cpu_prefers_bf16
from training.distributed.process_group import rank, world_size


class Muon(torch.optim.Muon):
    """`torch.optim.Muon` of matrices that are whole, or that FSDP2 has sharded by rows over all processes."""

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            parameters, gradients, momenta = [], [], []  # the same ones in every process
            self._init_group(group, parameters, gradients, momenta)
            owned: dict[int, Tensor] = {}
            for number, (gradient, momentum) in enumerate(zip(gradients, momenta, strict=True)):
                update = _update(gradient, momentum, group)
                if number % world_size() == rank() or not isinstance(gradient, DTensor):
                    owned[number] = update
            owned = dict(zip(owned, _orthogonal(list(owned.values()), group), strict=True))
            for number, parameter in enumerate(parameters):
                if isinstance(parameter, DTensor):
                    _apply_share(parameter, _from_owner(owned.get(number), number, parameter), group)
                else:
                    _apply(parameter, owned[number], group, parameter.shape)


def _update(gradient: Tensor, momentum: Tensor, group: dict) -> Tensor:
    """The gradient with momentum, whole. Brings `momentum` up to date."""
    local, buffer = (each.to_local() if isinstance(each, DTensor) else each for each in (gradient, momentum))
    buffer.lerp_(local, 1 - group["momentum"])
    update = local.lerp(buffer, group["momentum"]) if group["nesterov"] else buffer
    if not isinstance(gradient, DTensor):
        return update
    assert gradient.placements == (Shard(0),)
    return DTensor.from_local(
        update, gradient.device_mesh, gradient.placements, shape=gradient.shape, stride=gradient.stride()
    ).full_tensor()


def _orthogonal(updates: list[Tensor], group: dict) -> list[Tensor]:
    """Matrices [rows, columns], made orthogonal."""
    by_shape: dict[torch.Size, list[int]] = {}
    for number, update in enumerate(updates):
        by_shape.setdefault(update.shape, []).append(number)
    made: dict[int, Tensor] = {}
    for numbers in by_shape.values():
        stacked = torch.stack([updates[number] for number in numbers])
        made |= zip(numbers, _newton_schulz(stacked, group), strict=True)
    return [made[number] for number in range(len(updates))]


def _newton_schulz(matrices: Tensor, group: dict) -> Tensor:
    """[matrices, rows, columns] → same, with singular values near 1: x ← a x + (b g + c g²) x, where g = x xᵀ."""
    a, b, c = group["ns_coefficients"]
    tall = matrices.shape[1] > matrices.shape[2]
    bf16 = matrices.is_cuda or cpu_prefers_bf16()
    x = (matrices.mT if tall else matrices).to(torch.bfloat16 if bf16 else torch.float32)
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=group["eps"])
    for _ in range(group["ns_steps"]):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


def _from_owner(direction: Tensor | None, number: int, parameter: DTensor) -> Tensor:
    """What the process that owns this matrix has computed [rows, columns]."""
    dtype = torch.bfloat16 if parameter.is_cuda else torch.float32  # the same in every process
    if direction is None:
        direction = torch.empty(parameter.shape, dtype=dtype, device=parameter.device)
    direction = direction.to(dtype).contiguous()
    dist.broadcast(direction, number % world_size())
    return direction


def _apply_share(parameter: DTensor, direction: Tensor, group: dict) -> None:
    """Moves this process's rows."""
    local, rows = parameter.to_local(), -(-parameter.shape[0] // world_size())
    first = rank() * rows
    _apply(local, direction[first : first + len(local)], group, parameter.shape)


def _apply(weights: Tensor, direction: Tensor, group: dict, shape: torch.Size) -> None:
    """Moves weights, all or some rows of a matrix of this shape."""
    weights.mul_(1 - group["lr"] * group["weight_decay"])
    weights.add_(direction, alpha=-_adjust_lr(group["lr"], group["adjust_lr_fn"], shape))
