"""The card's own limits, and what happens around a step: products, copies, attention, saves, the loader."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from benchmarks.train_step_setting import Built, Setting
from parley.config import ParleyConfig
from parley.media.image import tile
from training.attention import packed_attention
from training.data.loader import to_device, workers_for
from training.data.packing import Segments
from training.distributed.states import SavedStates


def products(setting: Setting, folder: Path) -> Built:
    dtype = torch.bfloat16 if setting.device.type == "cuda" else torch.float32
    matrix = torch.randn(setting.matrix, setting.matrix, device=setting.device, dtype=dtype)
    return Built(lambda: matrix @ matrix, operations=2.0 * setting.matrix**3)


def copies(setting: Setting, folder: Path) -> Built:
    source = torch.empty(setting.matrix**2 * 8, device=setting.device, dtype=torch.float32)
    target, began = torch.empty_like(source), []

    def copy() -> None:
        began.append(time.perf_counter())
        target.copy_(source)

    def rate() -> dict:
        seconds = np.median(np.diff(began)) if len(began) > 1 else float("nan")
        return {"gb_per_second": round(2 * source.numel() * 4 / seconds / 1e9)}

    return Built(copy, more=rate)


def attention(packed: bool) -> Callable[[Setting, Path], Built]:
    """Attention of one layer, forward and backward, over a packed sequence of three samples."""

    def build(setting: Setting, folder: Path) -> Built:
        language, device = setting.config.language, setting.device
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        size = language.hidden_size // language.num_heads
        shapes = [(1, heads, setting.tokens, size) for heads in (language.num_heads, *2 * [language.num_kv_heads])]
        query, key, value = (torch.randn(shape, device=device, dtype=dtype, requires_grad=True) for shape in shapes)
        segments = to_device(Segments.of([setting.tokens // 2, setting.tokens // 4, setting.tokens // 4]), device)
        owner = torch.arange(3).repeat_interleave(torch.tensor(segments.lengths)).to(device)
        mask = (owner[:, None] == owner[None]).tril()

        def step() -> None:
            if packed:
                out, _ = packed_attention(None, query, key, value, None, scaling=size**-0.5, segments=segments)
            else:
                out = F.scaled_dot_product_attention(query, key, value, mask, enable_gqa=True)
            out.float().sum().backward()

        return Built(step, setting.tokens)

    return build


def saves(setting: Setting, folder: Path) -> Built:
    """How long training stands still for a state of 10 GB (small: 4 MB) that is written beside it."""
    elements = int(10e9 / 4) if setting.size == "full" else 1_000_000
    tensors = {f"tensor{i}": torch.empty(elements // 10, device=setting.device) for i in range(10)}
    states, number = SavedStates(folder), iter(range(1, 1000))

    def save() -> None:
        states.save(next(number), tensors)

    def wait() -> dict:
        began = time.perf_counter()
        states.finish()
        return {"last_written_after_seconds": round(time.perf_counter() - began, 2)}

    return Built(save, more=wait)


def loader(setting: Setting, folder: Path) -> Built:
    """Pictures of 640×480, decoded and cut into tiles by the processes of the loader."""
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8)).save(folder / "a.jpg")
    workers = workers_for(torch.device("cuda"))
    made = iter(DataLoader(_Pictures(folder / "a.jpg", setting.config), None, num_workers=workers))
    return Built(
        lambda: [next(made) for _ in range(16)], tokens=16, more=lambda: {"workers": workers, "unit": "pictures"}
    )


@dataclass
class _Pictures:
    path: Path
    config: ParleyConfig

    def __len__(self) -> int:
        return 100_000

    def __getitem__(self, index: int) -> Tensor:
        if index >= len(self):
            raise IndexError
        return torch.from_numpy(tile(Image.open(self.path).convert("RGB"), self.config.vision))
