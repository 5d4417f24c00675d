"""Muon of sharded matrices takes the steps of `torch.optim.Muon` on whole ones, to the bit."""

import pytest
import torch

from tests.training.distributed import tiny

pytestmark = pytest.mark.xdist_group("sharding")


@pytest.mark.parametrize("processes", [2, 3])
def test_sharded_matrices_take_the_same_steps(tmp_path, processes):
    """The iteration is in bf16. Where each process computed a part of a product, its sums differed."""
    started = tiny.start(processes, "matrices", tmp_path)
    try:
        errors = [process.communicate(timeout=120)[1] for process in started]
    finally:
        tiny.kill(started)
    assert [process.returncode for process in started] == [0] * processes, errors
    sharded = torch.load(tmp_path / "matrices.pt", weights_only=True)
    for mine, plain in zip(sharded, tiny.muon_steps(tiny.attention()), strict=True):
        assert torch.equal(mine, plain)
