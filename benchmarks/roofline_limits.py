"""What a device allows: the bandwidth of its memory and the rate of its matrix products, measured."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

SIZES = {"cuda": (1 << 30, 8192), "cpu": (1 << 28, 1024)}  # bytes that are copied, width of the matrices
REPEATS = 10  # the fastest counts


@dataclass(frozen=True)
class Limits:
    bytes_per_second: float  # read and written, of a copy
    flops: float  # of a product of two matrices, in the engines' number format

    def __str__(self) -> str:
        return f"copy {self.bytes_per_second / 1e9:.0f} GB/s, products {self.flops / 1e12:.3g} TFLOP/s"

    def steps_per_second(self, weight_bytes: float, parameters: float, rows: int) -> float:
        """Of a step that reads all weights once and multiplies `rows` rows by each."""
        return 1 / max(weight_bytes / self.bytes_per_second, 2 * parameters * rows / self.flops)


def measure_limits(device: torch.device, dtype: torch.dtype) -> Limits:
    count, width = SIZES[device.type]
    source = torch.ones(count, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copied = 2 * count / fastest(lambda: target.copy_(source), device)
    left, right = (torch.ones(width, width, dtype=dtype, device=device) for _ in range(2))
    return Limits(copied, 2 * width**3 / fastest(lambda: left @ right, device))


def fastest(work: Callable[[], object], device: torch.device) -> float:
    """Seconds."""

    def once() -> float:
        wait_for(device)
        began = time.perf_counter()
        work()
        wait_for(device)
        return time.perf_counter() - began

    return min(once() for _ in range(1 + REPEATS))


def wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
