"""Mixed precision: products in bf16 where the device is fast with it, weights and their gradients in fp32."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from training.distributed import precision


@pytest.mark.parametrize("fast", [True, False])
def test_products_are_bf16_only_where_that_is_faster(monkeypatch, fast):
    monkeypatch.setattr(precision, "cpu_prefers_bf16", lambda: fast)
    layer, x = nn.Linear(8, 8), torch.randn(4, 8)
    with precision.mixed_precision(torch.device("cpu")):
        y = layer(x)
    assert y.dtype == (torch.bfloat16 if fast else torch.float32)
    y.float().square().sum().backward()
    assert layer.weight.dtype == layer.weight.grad.dtype == torch.float32
    assert layer(x).dtype == torch.float32


def test_attention_is_the_same_either_way(monkeypatch):
    monkeypatch.setattr(precision, "cpu_prefers_bf16", lambda: True)
    q, k, v = torch.randn(3, 2, 4, 16, 8)
    mask = torch.ones(16, 16, dtype=torch.bool).tril()
    with precision.mixed_precision(torch.device("cpu")):
        mixed = F.scaled_dot_product_attention(q, k, v, mask)
    torch.testing.assert_close(mixed.float(), F.scaled_dot_product_attention(q, k, v, mask), atol=0.03, rtol=0.03)
