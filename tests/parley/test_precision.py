import pytest
import torch

from parley import precision


@pytest.mark.parametrize(("float32", "bfloat16", "prefers"), [(2.0, 1.0, True), (1.3, 1.0, False), (1.0, 50.0, False)])
def test_bf16_is_preferred_where_it_is_clearly_faster(monkeypatch, float32, bfloat16, prefers):
    seconds = {torch.float32: float32, torch.bfloat16: bfloat16}
    monkeypatch.setattr(precision, "matmul_seconds", seconds.get)
    assert precision.cpu_prefers_bf16.__wrapped__() is prefers


def test_the_time_of_a_product_is_measured():
    assert precision.matmul_seconds(torch.float32, tries=1) > 0
