"""The text of an answer, token by token."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest

from services.llm_core.answer_text import AnswerFormat, AnswerText
from services.llm_core.requests import GenerationRequest
from services.llm_core.sampler import Sampling


def texts(tokenizer, ids: list[int]) -> list[str]:
    """What each token adds."""
    request = GenerationRequest(SimpleNamespace(), "s", "t", None, Sampling())
    answer = AnswerText(request, AnswerFormat(tokenizer, frozenset()), max_tokens=len(ids) + 1)
    return [sent.text for token in ids for sent in answer.add(token)]


@pytest.mark.parametrize("text", ["hello, how are you?", "naïve façade 日本語 🙂🙃 é", "  two  spaces ", "☞☜"])
async def test_text_comes_in_whole_characters(tiny_tokenizer, text):
    pieces = texts(tiny_tokenizer, tiny_tokenizer.encode(text).ids)
    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)


async def test_bytes_that_are_no_text_are_decoded_as_in_the_whole(tiny_tokenizer):
    broken = tiny_tokenizer.encode("日").ids[:2]
    choose = random.Random(0)
    answers = [[choose.randrange(tiny_tokenizer.get_vocab_size()) for _ in range(20)] for _ in range(200)]
    for ids in ([*broken, *broken], *answers):
        ids = [*ids, *tiny_tokenizer.encode(" hello").ids]  # what is incomplete is sent with what follows
        assert "".join(texts(tiny_tokenizer, ids)) == tiny_tokenizer.decode(ids)
