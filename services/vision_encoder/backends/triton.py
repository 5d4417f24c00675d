"""Encoder and adapter in a Triton server."""

from __future__ import annotations

import torch
from torch import Tensor

from services.engine.triton import Call, TritonModel


class TritonBackend:
    def __init__(self, model: TritonModel):
        self._model = model

    @property
    def alive(self) -> bool:
        return self._model.alive

    def run(self, pixels: Tensor) -> Tensor:
        """In as many calls as the model's largest batch asks for."""
        parts = pixels.float().split(self._model.max_batch)
        outputs = self._model.infer([Call({"pixels": part.numpy()}) for part in parts])
        return torch.cat([torch.from_numpy(output["embeddings"].copy()) for output in outputs])

    def shut_down(self) -> None:
        self._model.close()
