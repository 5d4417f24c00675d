"""Optimizers: which parameters Muon and weight decay apply to, and the learning rate over the steps."""

from __future__ import annotations

import copy
import re

import pytest
import torch
from torch import nn
from torch.distributed import HashStore, destroy_process_group, init_process_group
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from parley.config import PARTS, PRESETS
from parley.models.parley import build_part, parts_of
from training.objectives.discriminator import Discriminator
from training.optimizers import build_optimizers, set_learning_rate, share_of_peak, sort_parameters
from training.recipe import Schedule

# Names of what is neither decayed nor Muon's: biases (two are matrices), norms and gains, tables, tokens, positions.
NOT_DECAYED = re.compile(
    r"bias$|norm|(fast|slow)\.2\.weight$|lambda_[12]$|gain$|original0$"
    r"|embed_tokens\.weight$|^embedding\.weight$|cls_token$|position_embeddings$|^vectors$"
)


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


@pytest.mark.parametrize(("preset", "part"), [(name, part) for name in ("nano", "vita-7b") for part in PARTS])
def test_what_a_parameter_is_decides_whether_it_is_decayed(preset, part):
    config = PRESETS[preset]
    assert part in parts_of(config)
    with torch.device("meta"):
        module = build_part(part, config)
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    attention, weights, others = ([names[id(parameter)] for parameter in kind] for kind in sort_parameters(module))
    assert sorted(attention + weights + others) == sorted(names.values())
    assert [name for name in attention + weights if NOT_DECAYED.search(name)] == []
    assert [name for name in others if not NOT_DECAYED.search(name)] == []
    assert all("attn" in name or "attention" in name for name in attention)
    has_attention = part in ("vision_encoder", "speech_encoder", "language", "speech_decoder")
    assert bool(attention) == has_attention


def test_a_frozen_parameter_has_no_optimizer():
    module = network()
    module["mlp"].requires_grad_(False)
    [adamw] = build_optimizers({"part": module}, Schedule(lr=1e-3, batch=1))
    assert sum(len(group["params"]) for group in adamw.param_groups) == 2


def test_normalised_convolutions_are_decayed_without_their_length():
    attention, weights, others = sort_parameters(Discriminator())
    convolutions = 10
    assert (len(attention), len(weights), len(others)) == (0, convolutions, 2 * convolutions)


@pytest.fixture
def one_process():
    init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    yield
    destroy_process_group()


def test_sharded_and_whole_parameters_take_the_same_steps(one_process):
    torch.manual_seed(0)
    whole, head = network(), nn.Linear(4, 2)
    sharded, sharded_head = copy.deepcopy(whole), copy.deepcopy(head)
    fully_shard(sharded["attention"])
    fully_shard(sharded["mlp"])
    schedule = Schedule(lr=1e-2, batch=1, muon=2e-2)
    for modules in ({"part": whole, "head": head}, {"part": sharded, "head": sharded_head}):
        optimizers, x = build_optimizers(modules, schedule), torch.eye(4)
        for _ in range(3):
            modules["head"](modules["part"]["mlp"](modules["part"]["attention"](x))).square().sum().backward()
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
    for name, parameter in sharded.named_parameters():
        assert isinstance(parameter, DTensor)
        torch.testing.assert_close(parameter.full_tensor(), whole.get_parameter(name), rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(sharded_head.weight, head.weight, rtol=1e-6, atol=1e-7)
