"""Sampling: greedy, temperature, top-k, top-p, seeds."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from services.llm_core.sampler import SamplerState, Sampling, sample


def test_greedy_takes_the_likeliest_beside_sampled_sequences():
    logits = torch.tensor([[0.0, 3.0, 1.0], [5.0, 0.0, 0.0], [0.0, 0.0, 9.0]])
    states = [SamplerState(Sampling()), SamplerState(Sampling(temperature=0.01)), SamplerState(Sampling())]
    assert sample(logits, states) == [1, 0, 2]


def test_drawn_tokens_have_the_distribution_that_was_asked_for():
    logits = torch.tensor([2.0, 1.5, 1.0, 0.0, -1.0])
    count = 5_000

    def shares(**sampling) -> list[float]:
        states = [SamplerState(Sampling(temperature=0.7, seed=seed, **sampling)) for seed in range(count)]
        seen = Counter(sample(logits.expand(count, -1), states))
        return [seen[token] / count for token in range(5)]

    want = (logits / 0.7).softmax(0)
    assert shares() == pytest.approx(want.tolist(), abs=0.03)
    two = (want * torch.tensor([1, 1, 0, 0, 0])) / want[:2].sum()
    assert shares(top_k=2) == pytest.approx(two.tolist(), abs=0.03)
    # 0.57 is below 0.7 and 0.84 above it: the second token is kept
    assert shares(top_p=0.7) == pytest.approx(two.tolist(), abs=0.03)
    assert shares(top_p=1e-6) == [1, 0, 0, 0, 0]


def test_every_seed_has_its_own_random_numbers():
    logits = torch.zeros(1, 50)
    one, same, other = (SamplerState(Sampling(temperature=1.0, seed=seed)) for seed in (4, 4, 5))
    drawn = [[sample(logits, [state])[0] for _ in range(20)] for state in (one, same, other)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(set(drawn[0])) > 5
