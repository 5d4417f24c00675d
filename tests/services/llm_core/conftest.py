"""What the tests of the LLM core share: a language model as `transformers` runs it."""

from __future__ import annotations

import pytest
import torch

from parley.models.language import build_language


@pytest.fixture(scope="module")
def plain(tiny_config):
    """The model as transformers runs it. Weights large enough that greedy answers vary with the prompt."""
    torch.manual_seed(3)
    language = build_language(tiny_config.language).eval()
    for weights in language.parameters():
        if weights.dim() > 1:
            torch.nn.init.normal_(weights, std=0.15)
    language.set_attn_implementation("eager")
    return language
