"""Encoder and adapter in this process, on one device."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from services.vision_encoder.settings import VisionEncoderSettings


class LocalBackend:
    alive = True

    def __init__(self, network: Callable[[Tensor], Tensor], settings: VisionEncoderSettings):
        """`network`: pixels → embeddings, in inference mode, on the device and of the dtype of the settings."""
        self._network = network
        self._device, self._dtype = settings.device, getattr(torch, settings.dtype)

    @torch.inference_mode()
    def run(self, pixels: Tensor) -> Tensor:
        return self._network(pixels.to(self._device, self._dtype)).cpu()

    def shut_down(self) -> None:
        """Nothing outlives the engine."""
