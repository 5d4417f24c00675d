"""Stage 0.2: the vision encoder learns to see before it is shown to a language model.

Each token after the pixel shuffle is one cell of the world's grid. It must tell what the cell holds: nothing, a shape
of some colour and size, or a written word; and where it is. The linear heads that read it are trained beside it and
never kept. They read it through noise: what is told must be as large as the rest of the token, or the language model
would have to find a whisper in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from parley.media.image import frames_to_pixels
from training.data.loader import moved
from training.data.world.pictures import LABEL_SIZES

NOISE = 0.5  # of the tokens' own size, on what the heads read


@dataclass
class CellBatch:
    pixels: Tensor  # [pictures, 3, side, side]
    labels: dict[str, Tensor]  # name → int64 [pictures, 9], -1 where it does not apply


class CellsObjective:
    """See `training.objectives`."""

    def __init__(self, stage, model, data, seed: int) -> None:
        self.encoder, self.data, self.seed = model.vision_encoder, data, seed
        self.size = data.schedule.batch
        self.device = next(self.encoder.parameters()).device
        # Trained with the encoder through `extra`, and dropped with the objective.
        width = self.encoder.config.token_size
        self.extra = nn.ModuleDict({name: nn.Linear(width, size) for name, size in LABEL_SIZES.items()}).to(self.device)

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
        """Percent of held-out cells told right, by what is told."""
        right, count = dict.fromkeys(LABEL_SIZES, 0), dict.fromkeys(LABEL_SIZES, 0)
        for start in range(0, 256, 64):
            batch = moved(self._make(self.data.heldout, range(start, start + 64)), self.device)
            tokens = self.encoder(batch.pixels)
            for name, labels in batch.labels.items():
                known = labels >= 0
                right[name] += ((self.extra[name](tokens).argmax(-1) == labels) & known).sum().item()
                count[name] += known.sum().item()
        return {name: 100 * right[name] / max(1, count[name]) for name in LABEL_SIZES}

    def _make(self, world, indices: range) -> CellBatch:
        pictures, labels = zip(*(world.cells(index) for index in indices), strict=True)
        stacked = {name: torch.from_numpy(np.stack([label[name] for label in labels])) for name in LABEL_SIZES}
        return CellBatch(
            torch.from_numpy(frames_to_pixels(list(pictures), self.encoder.config)),
            stacked,
        )
