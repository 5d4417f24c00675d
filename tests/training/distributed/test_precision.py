"""Precision: what a stage computes in, by device; matrix products in bf16 where the CPU is fast with it."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from parley.models.parley import Parley
from training.distributed import precision
from training.distributed.precision import Precision, precision_for, use_eager_attention

CPU = torch.device("cpu")


@pytest.mark.parametrize("fast", [True, False])
def test_products_are_bf16_only_where_that_is_faster(monkeypatch, fast):
    monkeypatch.setattr(precision, "cpu_prefers_bf16", lambda: fast)
    layer, x = nn.Linear(8, 8), torch.randn(4, 8)
    with precision_for(CPU, mixed=True).context(CPU):
        y = layer(x)
    assert y.dtype == (torch.bfloat16 if fast else torch.float32)
    y.float().square().sum().backward()
    assert layer.weight.dtype == layer.weight.grad.dtype == torch.float32
    assert layer(x).dtype == torch.float32


def test_a_stage_that_needs_fp32_has_it_everywhere(monkeypatch):
    monkeypatch.setattr(precision, "cpu_prefers_bf16", lambda: True)
    for device in (CPU, torch.device("cuda")):
        assert precision_for(device, mixed=False) == Precision(weights=torch.float32, autocast=False)
    with precision_for(CPU, mixed=False).context(CPU):
        assert nn.Linear(8, 8)(torch.randn(4, 8)).dtype == torch.float32


def test_a_gpu_computes_in_bf16_weights_and_no_autocast():
    assert precision_for(torch.device("cuda"), mixed=True) == Precision(weights=torch.bfloat16, autocast=False)


def test_attention_is_the_same_either_way(monkeypatch):
    monkeypatch.setattr(precision, "cpu_prefers_bf16", lambda: True)
    q, k, v = torch.randn(3, 2, 4, 16, 8)
    mask = torch.ones(16, 16, dtype=torch.bool).tril()
    with precision_for(CPU, mixed=True).context(CPU):
        mixed = F.scaled_dot_product_attention(q, k, v, mask)
    torch.testing.assert_close(mixed.float(), F.scaled_dot_product_attention(q, k, v, mask), atol=0.03, rtol=0.03)


def test_eager_attention_reads_the_same(tiny_config):
    torch.manual_seed(0)
    model = Parley(tiny_config, ("vision_encoder", "language")).eval()
    pixels, ids = torch.randn(2, 3, 32, 32), torch.randint(320, (1, 9))
    with torch.no_grad():
        before = model.vision_encoder(pixels), model.language(ids).logits
        use_eager_attention(model, torch.device("cuda"))
        assert model.language.config._attn_implementation != "eager"
        use_eager_attention(model, CPU)
        assert model.language.config._attn_implementation == "eager"
        after = model.vision_encoder(pixels), model.language(ids).logits
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
