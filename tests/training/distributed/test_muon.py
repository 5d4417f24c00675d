"""Muon takes the steps of `torch.optim.Muon`, and on sharded matrices those on whole ones, to the bit."""

import pytest
import torch

from tests.training.distributed import tiny
from training.distributed.muon import _orthogonal

pytestmark = pytest.mark.xdist_group("sharding")


@pytest.mark.parametrize("processes", [2, 3])
def test_sharded_matrices_take_the_same_steps(tmp_path, processes):
    """Where each process computed a part of a product, its sums differed."""
    started = tiny.start(processes, "matrices", tmp_path)
    try:
        errors = [process.communicate(timeout=120)[1] for process in started]
    finally:
        tiny.kill(started)
    assert [process.returncode for process in started] == [0] * processes, errors
    sharded = torch.load(tmp_path / "matrices.pt", weights_only=True)
    for mine, plain in zip(sharded, tiny.muon_steps(tiny.attention()), strict=True):
        assert torch.equal(mine, plain)


def test_it_takes_the_steps_of_pytorchs_own(monkeypatch):
    """That one iterates in bf16, which has eight bits."""
    mine = tiny.muon_steps(tiny.attention())
    monkeypatch.setattr("training.optimizers.Muon", torch.optim.Muon)
    theirs = tiny.muon_steps(tiny.attention())
    began = [layer.weight for layer in tiny.attention().values()]
    for one, other, start in zip(mine, theirs, began, strict=True):
        moved = (other - start).norm()
        assert moved > 0.01
        assert (one - other).norm() < 0.02 * moved


def test_matrices_of_one_shape_do_not_change_each_other():
    group = {"ns_coefficients": (3.4445, -4.775, 2.0315), "eps": 1e-7, "ns_steps": 5}
    torch.manual_seed(0)
    matrices = [torch.randn(8, 4), torch.randn(4, 8), torch.randn(8, 4)]
    together = _orthogonal(matrices, group)
    for matrix, made in zip(matrices, together, strict=True):
        assert made.shape == matrix.shape
        assert torch.equal(made, _orthogonal([matrix], group)[0])
        values = torch.linalg.svdvals(made.float())
        assert values.min() > 0.6
        assert values.max() < 1.3
