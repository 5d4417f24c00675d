"""The state: from a head, or from the first token of an answer."""

from __future__ import annotations

import pytest
import torch

from services.llm_core.state import StateTokenDecoder, decide


def test_the_head_decides_by_the_largest():
    decision = decide(torch.tensor([0.0, 1.0, 3.0]))
    assert decision.nothing and sum(decision.probabilities) == pytest.approx(1)
    assert not decide(torch.tensor([1.0, 0.0, 0.0])).nothing


def test_a_second_head_tells_whether_the_question_is_complete():
    assert decide(torch.zeros(3)).complete is None
    assert decide(torch.zeros(3), torch.tensor([2.0])).complete == pytest.approx(0.8808, abs=1e-4)


def test_state_tokens_of_several_ids_are_decoded_to_their_end():
    decoder = StateTokenDecoder([(5, 7), (5, 8), (6,)])
    logits = torch.zeros(10)
    logits[5], logits[9] = 1.0, 50.0  # 9 begins no state: it is not considered
    token, decision = decoder.step(logits[decoder.ids])
    assert token == 5 and decision is None
    logits[8] = 2.0
    token, decision = decoder.step(logits[decoder.ids])
    assert token == 8 and decision.state == 1
    first, second = torch.tensor([1.0, 0.0]).softmax(0), torch.tensor([0.0, 2.0]).softmax(0)
    assert decision.probabilities == pytest.approx([float(first[0] * share) for share in second] + [float(first[1])])
