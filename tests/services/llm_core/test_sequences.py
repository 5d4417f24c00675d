"""A sequence: what is reused, where embeddings stand, the text of its tokens."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest
import torch

from services.llm_core.pieces import Piece
from services.llm_core.position_keys import position_keys
from services.llm_core.requests import GenerationRequest
from services.llm_core.sampler import Sampling
from services.llm_core.sequences import Sequence


def make_sequence() -> Sequence:
    return Sequence(GenerationRequest(SimpleNamespace(), "s", "t", None, Sampling()), None)


async def test_a_sequence_reuses_as_far_as_its_prompt_is_the_same():
    sequence = make_sequence()
    sequence.keep([1, 2, 3, 4, 5])
    sequence.extend([Piece([1, 2])])
    sequence.reuse()
    assert (sequence.computed, sequence.pending, sequence.held) == (2, 0, 5)
    assert sequence.held_keys() == [1, 2, 3, 4, 5]
    sequence.extend([Piece([3, 9, 5])])
    sequence.reuse()
    assert (sequence.computed, sequence.pending, sequence.held, sequence.cached) == (3, 2, 3, 3)
    sequence.advance(2)
    sequence.reuse()
    assert sequence.held_keys() == [1, 2, 3, 9, 5]


async def test_embeddings_fill_their_own_positions_in_any_chunk():
    sequence = make_sequence()
    seen = torch.arange(6.0).view(3, 2)
    sequence.extend([Piece([4, 5]), Piece(position_keys(seen), seen), Piece([6])])
    for cut in range(7):
        left, right = torch.full((cut, 2), -1.0), torch.full((6 - cut, 2), -1.0)
        sequence.fill(0, cut, left)
        sequence.fill(cut, 6, right)
        assert torch.cat([left, right])[:, 0].tolist() == [-1, -1, 0, 2, 4, -1]


def texts(tokenizer, ids: list[int]) -> list[str]:
    """What each token adds."""
    sequence = make_sequence()
    return [sequence.text.step(tokenizer, token) or "" for token in ids]


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
