"""Packed attention: each sample is read as if it were alone, on a CPU and by the GPU's kernel."""

from __future__ import annotations

import copy
import inspect
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.nn.attention import varlen

from parley.config import LanguageConfig
from parley.models.language import build_language
from training import attention
from training.attention import packed, packed_attention
from training.data.packing import Segments

LENGTHS = {
    "alike": [20, 20, 20],
    "one": [70],
    "single tokens": [1, 1, 5, 1],
    "many": [1, 2, 31, 32, 33, 100, 7, 64, 65, 3, 128],
}


def make_language(heads: int, kv_heads: int):
    torch.manual_seed(0)
    language = build_language(
        LanguageConfig(
            vocab_size=64, hidden_size=32, intermediate_size=48, num_layers=2, num_heads=heads, num_kv_heads=kv_heads,
            max_position_embeddings=256,
        )
    )  # fmt: skip
    for weight in language.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return language.eval()


def read_packed(language, embeddings: Tensor, lengths: list[int]) -> Tensor:
    positions = torch.cat([torch.arange(length) for length in lengths])
    with packed(language):
        return language.model(
            inputs_embeds=embeddings[None], attention_mask={"full_attention": None}, position_ids=positions[None],
            segments=Segments.of(lengths), use_cache=False,
        ).last_hidden_state[0]  # fmt: skip


def read_alone(language, embeddings: Tensor, lengths: list[int]) -> Tensor:
    """One call for each sample, with the attention that serving has."""
    parts = embeddings.split(lengths)
    return torch.cat([language.model(inputs_embeds=part[None], use_cache=False).last_hidden_state[0] for part in parts])


@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (4, 2), (4, 1)])
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
def test_packed_samples_are_read_as_each_alone(lengths, heads, kv_heads):
    language = make_language(heads, kv_heads)
    embeddings = torch.randn(sum(lengths), 32, requires_grad=True)
    wanted = torch.randn(sum(lengths), 32)
    found = []
    for read in (read_packed, read_alone):
        hidden = read(language, embeddings, lengths)
        weights = [embeddings, *language.model.layers.parameters()]
        found.append((hidden, torch.autograd.grad((hidden * wanted).sum(), weights)))
    (hidden, gradients), (expected, expected_gradients) = found
    torch.testing.assert_close(hidden, expected, atol=1e-4, rtol=1e-4)
    for one, other in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(one, other, atol=2e-4 * float(other.abs().max()) + 1e-5, rtol=1e-3)


def test_no_token_sees_a_later_one_or_another_sample():
    language, lengths = make_language(4, 2), [5, 40, 9]
    embeddings = torch.randn(sum(lengths), 32, requires_grad=True)
    sample = torch.tensor([0] * 5 + [1] * 40 + [2] * 9)
    for token in (0, 4, 5, 30, 44, 53):
        hidden = read_packed(language, embeddings, lengths)[token]
        [gradient] = torch.autograd.grad(hidden.square().sum(), embeddings)
        seen = (sample == sample[token]) & (torch.arange(54) <= token)
        assert torch.equal(gradient.abs().amax(1) > 0, seen)


def test_the_model_keeps_its_own_attention_afterwards():
    language = make_language(4, 2)
    before = language.config._attn_implementation
    untouched, embeddings = copy.deepcopy(language), torch.randn(6, 32)
    read_packed(language, embeddings, [4, 2])
    assert language.config._attn_implementation == before != attention.NAME
    assert torch.equal(read_alone(language, embeddings, [6]), read_alone(untouched, embeddings, [6]))


def slow_attention(query, key, value, offsets, scale) -> Tensor:
    """Token after token, head after head. [tokens, heads, size]."""
    out = torch.zeros_like(query)
    group = query.shape[1] // key.shape[1]
    for start, end in pairwise(offsets):
        for head in range(query.shape[1]):
            for token in range(start, end):
                keys, values = (each[start : token + 1, head // group] for each in (key, value))
                out[token, head] = ((keys @ query[token, head]) * scale).softmax(0) @ values
    return out


@pytest.fixture
def kernel_calls(monkeypatch) -> list[dict]:
    """The calls of a GPU's kernel, which this one computes slowly. Its parameters are those of the real one."""
    signature, calls = inspect.signature(varlen.varlen_attn), []

    def varlen_attn(*args, **kwargs):
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        calls.append(call := bound.arguments)
        offsets = call["cu_seq_q"].tolist()
        return slow_attention(call["query"], call["key"], call["value"], offsets, call["scale"])

    monkeypatch.setattr(varlen, "varlen_attn", varlen_attn)
    return calls


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_both_ways_are_causal_attention_inside_each_sample(kv_heads, kernel_calls):
    torch.manual_seed(0)
    segments = Segments.of([3, 40, 1, 17])
    query, key, value = torch.randn(61, 4, 8), torch.randn(61, kv_heads, 8), torch.randn(61, kv_heads, 8)
    expected = slow_attention(query, key, value, [0, 3, 43, 44, 61], 0.3)
    torch.testing.assert_close(attention._padded(query, key, value, segments, 0.3), expected)
    torch.testing.assert_close(attention._in_a_kernel(query, key, value, segments, 0.3), expected)
    heads = (tensor.transpose(0, 1)[None] for tensor in (query, key, value))
    found, weights = packed_attention(None, *heads, None, scaling=0.3, segments=segments, dropout=0.0)
    torch.testing.assert_close(found, expected[None])
    assert weights is None


def test_the_kernel_is_told_to_look_back_only(kernel_calls):
    segments = Segments.of([3, 5])
    for kv_heads in (4, 2):
        query, key = torch.randn(8, 4, 8), torch.randn(8, kv_heads, 8)
        attention._in_a_kernel(query, key, key, segments, 0.5)
    one, grouped = kernel_calls
    assert one["window_size"] == (-1, 0)  # causal, as its documentation says
    assert one["cu_seq_q"] is one["cu_seq_k"] is segments.offsets and one["max_q"] == one["max_k"] == 5
    assert (one["enable_gqa"], grouped["enable_gqa"]) == (False, True)
    assert one["query"].is_contiguous() or one["query"].stride(-1) == 1
