"""Keys of embeddings: equal for equal content, different for any other."""

from __future__ import annotations

import pytest
import torch

from services.llm_core.position_keys import position_keys


def test_equal_embeddings_have_equal_keys_that_are_no_token_ids():
    embeddings = torch.randn(4, 8)
    embeddings[3] = embeddings[0]
    keys = position_keys(embeddings)
    assert keys[0] == keys[3] and len(set(keys)) == 3 and max(keys) < 0
    assert position_keys(embeddings.bfloat16()) != keys


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_keys_do_not_depend_on_how_the_embeddings_are_cut_or_stored(dtype):
    embeddings = torch.randn(9, 48).to(dtype)
    keys = position_keys(embeddings)
    assert [key for piece in embeddings.split([1, 4, 4]) for key in position_keys(piece)] == keys
    assert position_keys(torch.cat([embeddings, embeddings], dim=1)[:, :48]) == keys
    assert position_keys(torch.zeros(0, 48, dtype=dtype)) == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("width", [6, 48])  # 6 halves are no whole number of words
def test_any_change_gives_another_key(dtype, width):
    base = torch.randn(width).to(dtype)
    changed = [base]
    for one in range(width):
        for other in range(one, width):  # also two signs at once: their bits must not cancel
            variant = base.clone()
            variant[[one, other]] *= -1
            changed.append(variant)
    swapped = base.clone()
    swapped[[0, 4]] = swapped[[4, 0]]
    keys = position_keys(torch.stack([*changed, swapped, torch.zeros_like(base)]))
    assert len(set(keys)) == len(keys)


def test_the_keys_of_many_embeddings_differ():
    embeddings = torch.arange(100_000, dtype=torch.float32)[:, None].repeat(1, 2)
    assert len(set(position_keys(embeddings))) == len(embeddings)
