"""Rotary positions (arXiv 2104.09864): queries and keys are rotated by angles proportional to their positions.

Pairs are (i, i + half) of a head, as in Llama. Positions need not be whole numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor

CosSin = tuple[Tensor, Tensor]  # cosine and sine, float32 [b, 1, n, head_size / 2]


def angles(positions: Tensor, head_size: int, base: float, rounded: bool = False) -> CosSin:
    """Cosine and sine of the angles of positions [b, n].

    `rounded`: the rates are rounded to half precision, as in the model that the published speech decoder comes from.
    """
    rates = base ** -(torch.arange(0, head_size, 2, device=positions.device).float() / head_size)
    if rounded:
        rates = rates.half().float()
    angle = positions.float()[:, None, :, None] * rates
    return angle.cos(), angle.sin()


def rotate(x: Tensor, cos_sin: CosSin) -> Tensor:
    """Queries or keys [b, heads, n, head_size], rotated to their positions."""
    cos, sin = (part.to(x.dtype) for part in cos_sin)
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)
