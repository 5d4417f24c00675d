"""Causal attention inside each sample of a packed sequence, for the language models of `transformers`.

On a GPU, in bf16, it is one kernel for sequences of different lengths (`torch.nn.attention.varlen`). Elsewhere samples
of similar length are padded and computed together as plain matrix products: on a CPU their backward pass is faster than
that of fused attention. Neither makes a mask of the whole sequence.
"""

from __future__ import annotations

from contextlib import contextmanager
from itertools import groupby

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

from training.data.packing import Segments

NAME = "packed"
HALVES = (torch.bfloat16, torch.float16)  # of which the GPU has a kernel
SHORTEST = 32  # tokens; shorter samples are computed with those of this length


def use_packed_attention(language: PreTrainedModel) -> None:
    """Makes the language model expect `segments` (`training.data.packing`) with each packed sequence."""
    language.set_attn_implementation(NAME)


@contextmanager
def packed(language: PreTrainedModel):
    """Inside, the language model expects `segments`."""
    before = language.config._attn_implementation
    use_packed_attention(language)
    try:
        yield
    finally:
        language.set_attn_implementation(before)


def packed_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: None, *, scaling: float,
    segments: Segments, **_,
) -> tuple[Tensor, None]:  # fmt: skip
    """Queries [1, heads, tokens, size], keys and values [1, KV heads, tokens, size] → [1, tokens, heads, size]."""
    query, key, value = (tensor[0].transpose(0, 1) for tensor in (query, key, value))  # [tokens, heads, size]
    attend = _in_a_kernel if query.is_cuda and query.dtype in HALVES else _padded
    return attend(query, key, value, segments, scaling)[None], None


def _in_a_kernel(query: Tensor, key: Tensor, value: Tensor, segments: Segments, scaling: float) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    return varlen_attn(
        query, key, value, segments.offsets, segments.offsets, segments.longest, segments.longest, scale=scaling,
        window_size=(-1, 0), enable_gqa=query.shape[1] != key.shape[1],
    )  # fmt: skip


def _padded(query: Tensor, key: Tensor, value: Tensor, segments: Segments, scaling: float) -> Tensor:
    repeats = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(repeats, 1), value.repeat_interleave(repeats, 1)
    outputs, places = [], []
    for padded, real in _groups(segments):
        output = _causal(*(tensor[padded].transpose(1, 2) for tensor in (query, key, value)), scaling)
        outputs.append(output.transpose(1, 2)[real])
        places.append(padded[real])
    return torch.cat(outputs)[torch.cat(places).argsort()]


def _causal(query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
    """[samples, heads, length, size] → same. Padding is on the right, where no real token looks."""
    length = query.shape[2]
    later = torch.ones(length, length, dtype=torch.bool, device=query.device).triu(1)
    scores = (query @ key.transpose(2, 3) * scaling).masked_fill(later, -torch.inf)
    return scores.softmax(-1, dtype=torch.float32).to(query.dtype) @ value


def _groups(segments: Segments) -> list[tuple[Tensor, Tensor]]:
    """For samples of similar length: the places of their tokens [samples, longest], and which of these are real."""
    starts, groups = segments.offsets.tolist(), []
    by_length = sorted(range(len(segments.lengths)), key=segments.lengths.__getitem__)
    for _, alike in groupby(by_length, key=lambda i: (max(segments.lengths[i], SHORTEST) - 1).bit_length()):
        numbers = list(alike)
        column = torch.arange(segments.lengths[numbers[-1]])
        lengths = torch.tensor([segments.lengths[i] for i in numbers])[:, None]
        begins = torch.tensor([starts[i] for i in numbers])[:, None]
        padded, real = begins + torch.minimum(column, lengths - 1), column < lengths
        groups.append((padded.to(segments.offsets.device), real.to(segments.offsets.device)))
    return groups


AttentionInterface.register(NAME, packed_attention)
