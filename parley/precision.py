"""Whether a CPU computes faster in bfloat16 than in float32, found by measuring.

A CPU may have instructions for bfloat16 (AVX-512 BF16, AMX: twice as fast as float32) or emulate it, which is up to
fifty times slower.
"""

from __future__ import annotations

import time
from functools import cache

import torch

MIN_SPEEDUP = 1.4  # from which bfloat16 is worth its rounding
SIDE = 512  # of the matrices that are multiplied


@cache
def cpu_prefers_bf16() -> bool:
    """Whether this CPU multiplies matrices clearly faster in bfloat16. Takes some milliseconds."""
    return matmul_seconds(torch.float32) > MIN_SPEEDUP * matmul_seconds(torch.bfloat16)


def matmul_seconds(dtype: torch.dtype, tries: int = 10) -> float:
    """The shortest time of several matrix products: other load on the machine can only make one slower."""
    a, seconds = torch.ones(SIDE, SIDE, dtype=dtype), []
    for _ in range(tries):
        start = time.perf_counter()
        a @ a
        seconds.append(time.perf_counter() - start)
    return min(seconds)
