"""Stage 0.2: the vision encoder is pretrained to classify the cells of a picture.

Each token after the pixel shuffle is one cell of the picture's grid. Linear heads, trained with the encoder and not
kept, predict the labels of the cell from the token with noise added: what the labels depend on must then be as large as
the rest of the token, or the language model could not read it later.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from parley.media.image import frames_to_pixels
from training.data.loader import to_device

NOISE = 0.5  # of what the heads read, relative to the size of the tokens
VALIDATED, VALIDATION_BATCH = 256, 64  # held-out pictures


@dataclass
class CellBatch:
    pixels: Tensor  # [pictures, 3, side, side]
    labels: dict[str, Tensor]  # name → int64 [pictures, cells], -1 where it does not apply


class CellsObjective:
    """See `training.objectives`.

    Args:
        data: its `train` and `heldout` give (picture, labels of its cells) by index.
        label_sizes: name of a label → number of classes.
    """

    def __init__(self, stage, model, data, seed: int, *, label_sizes: Mapping[str, int]) -> None:
        self.encoder, self.data, self.seed = model.vision_encoder, data, seed
        self.size = data.schedule.batch
        self.device = next(self.encoder.parameters()).device
        width = self.encoder.config.token_size
        self.extra = nn.ModuleDict({name: nn.Linear(width, size) for name, size in label_sizes.items()}).to(self.device)

    def batch(self, step: int) -> CellBatch:
        return self._make(self.data.train, range(step * self.size, (step + 1) * self.size))

    def loss(self, batch: CellBatch) -> tuple[Tensor, dict[str, float]]:
        tokens = self.encoder(batch.pixels)
        tokens = tokens + NOISE * tokens.detach().square().mean().sqrt() * torch.randn_like(tokens)
        losses = {}
        for name, labels in batch.labels.items():
            logits = self.extra[name](tokens).flatten(0, 1)
            losses[name] = F.cross_entropy(logits, labels.flatten(), ignore_index=-1, reduction="sum")
            losses[name] = losses[name] / (labels >= 0).sum().clamp(min=1)
        return sum(losses.values()), {name: loss.item() for name, loss in losses.items()}

    def validate(self) -> dict[str, float]:
        """Percent of held-out cells that are classified right, by label."""
        right, count = dict.fromkeys(self.extra, 0), dict.fromkeys(self.extra, 0)
        for start in range(0, VALIDATED, VALIDATION_BATCH):
            batch = self._make(self.data.heldout, range(start, start + VALIDATION_BATCH))
            batch = to_device(batch, self.device)
            tokens = self.encoder(batch.pixels)
            for name, labels in batch.labels.items():
                known = labels >= 0
                right[name] += ((self.extra[name](tokens).argmax(-1) == labels) & known).sum().item()
                count[name] += known.sum().item()
        return {name: 100 * right[name] / max(1, count[name]) for name in self.extra}

    def _make(self, world, indices: range) -> CellBatch:
        pictures, labels = zip(*(world.cells(index) for index in indices), strict=True)
        stacked = {name: torch.from_numpy(np.stack([label[name] for label in labels])) for name in self.extra}
        pixels = torch.from_numpy(frames_to_pixels(list(pictures), self.encoder.config))
        return CellBatch(pixels, stacked)
