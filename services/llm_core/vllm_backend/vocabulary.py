"""Keeps vLLM from sampling what is no token: the rows of its output head that are other heads' (`model_folder`).

vLLM imports it in the processes that sample.
"""

from __future__ import annotations

import torch
from vllm.config import VllmConfig
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor

from services.llm_core.vllm_backend.model_folder import SIZE


class VocabularyOnly(LogitsProcessor):
    def __init__(self, vllm_config: VllmConfig, device: torch.device, is_pin_memory: bool):
        self._size = getattr(vllm_config.model_config.hf_config, SIZE)

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        """logits: [requests, rows]"""
        logits[:, self._size :] = -torch.inf
        return logits

    def is_argmax_invariant(self) -> bool:
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        """It is the same for all requests."""
