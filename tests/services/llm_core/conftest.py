"""What the tests of the LLM core share: a language model as `transformers` runs it, and engines over it."""

from __future__ import annotations

import copy

import pytest
import torch

from parley.models.language import StateHead
from parley.text.prompt import PromptWriter
from services.llm_core.answer_text import AnswerFormat
from services.llm_core.settings import LlmCoreSettings
from services.llm_core.torch_engine import TorchEngine
from tests.services.llm_core.asking import SPEAKING, plain_language


@pytest.fixture(scope="module")
def plain(tiny_config):
    return plain_language(tiny_config.language)


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
