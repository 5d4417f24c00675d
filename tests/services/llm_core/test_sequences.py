"""A sequence: what is reused, where embeddings stand, the text of its tokens."""

from __future__ import annotations

from types import SimpleNamespace

import torch

from services.llm_core.pieces import Piece
from services.llm_core.position_keys import position_keys
from services.llm_core.requests import GenerationRequest
from services.llm_core.sampler import Sampling
from services.llm_core.sequences import Sequence


def make_sequence() -> Sequence:
    request = GenerationRequest(SimpleNamespace(), "s", "t", None, Sampling())
    return Sequence(request, None, None)


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
