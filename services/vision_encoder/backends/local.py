"""Encoder and adapter in this process, on one device."""

from __future__ import annotations

import torch
from torch import Tensor

from parley.models.vision import VisionAdapter, VisionEncoder


class LocalBackend:
    alive = True

    def __init__(self, encoder: VisionEncoder, adapter: VisionAdapter):
        """Both in inference mode."""
        self.encoder, self.adapter = encoder, adapter
        weight = next(encoder.parameters())
        self.device, self.dtype = weight.device, weight.dtype

    @torch.inference_mode()
    def run(self, pixels: Tensor) -> Tensor:
        return self.adapter(self.encoder(pixels.to(self.device, self.dtype))).cpu()

    def shut_down(self) -> None:
        """Nothing outlives the engine."""
