"""Stage 0.2: the vision encoder is pretrained to classify the cells of a picture.

Each token after the pixel shuffle is one cell of the picture's grid. Linear heads, trained with the encoder and not
kept, predict the labels of the cell from the token with noise added: what the labels depend on must then be as large as
the rest of the token, or the language model could not read it later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from parley.media.image import frames_to_pixels
from training.objectives.objective import Objective, Sums, Term, share

NOISE = 0.5  # of what the heads read, relative to the size of the tokens
VALIDATED, VALIDATION_BATCH = 256, 64  # held-out pictures


@dataclass
class CellBatch:
    pixels: Tensor  # [pictures, 3, side, side]
    labels: dict[str, Tensor]  # name → int64 [pictures, cells], -1 where it does not apply


class CellsObjective(Objective):
    """See `training.objectives.objective`.

    Args:
        data: its `train` and `heldout` give (picture, labels of its cells) by index.
        label_sizes: name of a label → number of classes.
    """

    def __init__(self, model, data, seed: int, *, label_sizes: Mapping[str, int]) -> None:
        super().__init__(model, seed, data.schedule.batch)
        self.data, self.config = data, model.vision_encoder.config
        width = self.config.token_size
        self.extra = nn.ModuleDict({name: nn.Linear(width, size) for name, size in label_sizes.items()})
        self.terms = {name: Term(f"{name}_cells") for name in label_sizes}

    def passes(self, numbers: Sequence[int], step: int) -> list[CellBatch]:
        return [self._make(self.data.train, numbers)] if numbers else []

    def blank(self) -> CellBatch:
        side = self.config.image_size
        labels = {name: torch.full((1, 1), -1) for name in self.extra}
        return CellBatch(torch.zeros(1, 3, side, side), labels)

    def counts(self, batch: CellBatch) -> dict[str, float]:
        known = {f"{name}_cells": float((labels >= 0).sum()) for name, labels in batch.labels.items()}
        return known | {"positions": float(len(batch.pixels))}

    def forward(self, batch: CellBatch, step: int = 0) -> Sums:
        tokens = self.model.vision_encoder(batch.pixels)
        if not self.training:
            return self._measures(batch, tokens)
        tokens = tokens + NOISE * tokens.detach().square().mean().sqrt() * torch.randn_like(tokens)
        sums = {}
        for name, labels in batch.labels.items():
            logits = self.extra[name](tokens[:, : labels.shape[1]]).flatten(0, 1)
            sums[name] = F.cross_entropy(logits.float(), labels.flatten(), ignore_index=-1, reduction="sum")
        return sums

    # Held-out data

    def probe(self, rank: int, world_size: int) -> list[CellBatch]:
        numbers = share(range(VALIDATED), rank, world_size)
        starts = range(0, len(numbers), VALIDATION_BATCH)
        return [self._make(self.data.heldout, numbers[start : start + VALIDATION_BATCH]) for start in starts]

    def _measures(self, batch: CellBatch, tokens: Tensor) -> Sums:
        """For each label: [right cells, cells]."""
        rows = []
        for name, labels in batch.labels.items():
            known = labels >= 0
            right = (self.extra[name](tokens[:, : labels.shape[1]]).argmax(-1) == labels) & known
            rows.append(torch.stack([right.sum(), known.sum()]).float())
        return {"cells": torch.stack(rows)}

    def summary(self, sums: Sums) -> dict[str, float]:
        """Percent of held-out cells that are classified right, by label."""
        rows = zip(self.extra, sums["cells"].tolist(), strict=True)
        return {name: 100 * right / max(1, count) for name, (right, count) in rows}

    def _make(self, world, indices: Sequence[int]) -> CellBatch:
        pictures, labels = zip(*(world.cells(index) for index in indices), strict=True)
        stacked = {name: torch.from_numpy(np.stack([label[name] for label in labels])) for name in self.extra}
        return CellBatch(torch.from_numpy(frames_to_pixels(list(pictures), self.config)), stacked)
