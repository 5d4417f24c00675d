"""Rotary positions (arXiv 2104.09864): queries and keys are turned by angles that grow with their place.

Pairs are (i, i + half) of a head, as in Llama. Positions need not be whole.
"""

from __future__ import annotations

import torch
from torch import Tensor

Turn = tuple[Tensor, Tensor]  # cosine and sine, float32 [b, 1, n, head_size / 2]


def angles(positions: Tensor, head_size: int, base: float, rounded: bool = False) -> Turn:
    """The angles of positions [b, n].

    `rounded`: the rates have half precision, as in the model that the published speech decoder comes from.
    """
    rates = base ** -(torch.arange(0, head_size, 2, device=positions.device).float() / head_size)
    if rounded:
        rates = rates.half().float()
    angle = positions.float()[:, None, :, None] * rates
    return angle.cos(), angle.sin()


def rotate(x: Tensor, turn: Turn) -> Tensor:
    """Queries or keys [b, heads, n, head_size], turned to their positions."""
    cos, sin = turn[0].to(x.dtype), turn[1].to(x.dtype)
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)
