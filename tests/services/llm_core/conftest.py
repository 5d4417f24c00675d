"""What the tests of the LLM core share: a language model as `transformers` runs it, and engines over it."""

from __future__ import annotations

import copy

import pytest
import torch

from parley.models.language import StateHead, build_language
from parley.text.prompt import PromptWriter
from services.llm_core.answer_text import AnswerFormat
from services.llm_core.settings import LlmCoreSettings
from services.llm_core.torch_engine import TorchEngine
from tests.services.llm_core.asking import SPEAKING


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


@pytest.fixture(scope="module")
def head(tiny_config):
    head = StateHead(tiny_config.language.hidden_size)
    torch.nn.init.zeros_(head.weight)
    head.bias.data.copy_(SPEAKING)
    return head


@pytest.fixture
def make_engine(tiny_config, tiny_tokenizer, plain, head):
    """`make_engine(setting=…)` → a running engine over its own copy of the model; stopped after the test."""
    engines = []

    def make(language_config=tiny_config.language, tokenizer=tiny_tokenizer, stop_ids=frozenset(), **settings):
        has_head = language_config.state == "head"
        writer = PromptWriter.of(language_config, tokenizer)
        engine = TorchEngine(
            copy.deepcopy(plain), head if has_head else None, language_config,
            AnswerFormat(tokenizer, stop_ids), None if has_head else writer.state_ids,
            LlmCoreSettings(threads=1, **settings),
        )  # fmt: skip
        engine.start()
        engines.append(engine)
        return engine

    yield make
    for engine in engines:
        engine.settings.stop_seconds = 0
        engine.stop()
