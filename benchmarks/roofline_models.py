"""Models of any size with random weights, made on the device."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer, models
from torch import nn

from benchmarks.roofline import Setting
from parley.models.parley import Parley
from services.llm_core.answer_text import AnswerFormat
from services.llm_core.engine import LanguageEngine
from services.llm_core.settings import LlmCoreSettings
from services.llm_core.torch_engine import TorchEngine

PROMPT, ANSWER = 512, 64  # tokens


def random_model(setting: Setting, parts: list[str]) -> Parley:
    """In inference mode."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(setting.dtype)
    try:
        with torch.device(setting.device):
            torch.manual_seed(0)
            return Parley(setting.config, parts).eval()
    finally:
        torch.set_default_dtype(before)


def num_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def llm_settings(setting: Setting, **more: object) -> LlmCoreSettings:
    """Room for a prompt and an answer of each row."""
    rows = max(setting.rows)
    return LlmCoreSettings(
        device=str(setting.device), dtype=str(setting.dtype).removeprefix("torch."), threads=torch.get_num_threads(),
        num_slots=rows, max_queued=0, max_length=PROMPT + ANSWER + 16, max_tokens=ANSWER, max_unread=2 * ANSWER,
        stop_seconds=0, **more,
    )  # fmt: skip


def torch_engine(setting: Setting, model: Parley) -> LanguageEngine:
    """`model`: its language model and state head, which is made to say that every question is answered."""
    head = model.state_head
    head.weight.data.zero_()
    head.bias.data.copy_(torch.tensor([1.0, 0.0, 0.0]))
    config = setting.config.language
    return TorchEngine(model.language, head, config, no_text(), None, llm_settings(setting))


def no_text() -> AnswerFormat:
    """Of a model without words: tokens have no text, and none ends an answer."""
    return AnswerFormat(Tokenizer(models.WordLevel({"?": 0}, "?")), frozenset())
