"""Optimizers: which parameters Muon and weight decay apply to, and the learning rate over the steps."""

from __future__ import annotations

import pytest
from torch import nn

from training.optimizers import build_optimizers, set_learning_rate, share_of_peak
from training.recipe import Schedule


def network() -> nn.ModuleDict:
    return nn.ModuleDict({"attention": nn.Linear(4, 4), "mlp": nn.Linear(4, 4)})


def test_the_learning_rate_warms_up_and_falls():
    schedule = Schedule(lr=1.0, steps=100, batch=1, warmup=0.1, floor=0.1)
    shares = [share_of_peak(step, schedule) for step in range(100)]
    assert shares[0] == pytest.approx(0.1)
    assert max(shares) == pytest.approx(1.0)
    assert shares[10:] == sorted(shares[10:], reverse=True)
    assert shares[-1] == pytest.approx(0.1, abs=1e-3)


def test_muon_has_the_attention_matrices_and_adamw_all_else():
    module = network()
    adamw, muon = build_optimizers({"part": module}, Schedule(lr=1e-3, batch=1, muon=2e-3, lr_of={"part": 5e-4}))
    [group] = muon.param_groups
    assert [id(p) for p in group["params"]] == [id(module["attention"].weight)]
    assert group["peak"] == pytest.approx(1e-3)  # muon's rate, lowered as the part's is
    decayed, others = adamw.param_groups
    assert [id(p) for p in decayed["params"]] == [id(module["mlp"].weight)] and decayed["weight_decay"] > 0
    assert len(others["params"]) == 2 and others["weight_decay"] == 0
    set_learning_rate(adamw, 0.5)
    assert decayed["lr"] == pytest.approx(2.5e-4)


def test_without_muon_there_is_one_optimizer():
    [adamw] = build_optimizers({"part": network()}, Schedule(lr=1e-3, batch=1))
    assert sum(len(group["params"]) for group in adamw.param_groups) == 4
