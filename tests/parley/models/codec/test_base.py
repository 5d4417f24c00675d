"""Quantizers."""

from __future__ import annotations

import pytest
import torch

from parley.models.codec.base import Quantizer


def test_quantizer_residual_rounds_come_closer():
    quantizer = Quantizer(32, 8, groups=2, layers=3)
    x = torch.randn(50, 8)
    codes = quantizer.assign(x)
    assert codes.shape == (50, 6)
    one_round = Quantizer(32, 8, groups=2)
    one_round.load_state_dict({k: v for k, v in quantizer.state_dict().items() if int(k.split(".")[1]) < 2})
    assert (quantizer(codes) - x).norm() < (one_round(one_round.assign(x)) - x).norm() * 1.2
    with pytest.raises(ValueError, match="does not split into 3 groups"):
        Quantizer(4, 8, groups=3)
