"""LoRA: what is trained, and that the merged weights compute what the adapted model computed."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from parley.config import PRESETS
from parley.models.language import build_language
from training.lora import ADAPTED, inject, merge
from training.lora_options import LoraOptions, adapted, with_lora
from training.recipe import find_stage

OPTIONS = LoraOptions(rank=3, alpha=12, dropout=0.1)


@pytest.fixture
def language(tiny_config) -> nn.Module:
    torch.manual_seed(0)
    return build_language(tiny_config.language).eval()


def trained(language: nn.Module, options: LoraOptions = OPTIONS) -> nn.Module:
    """The model with adapters that are no longer zero."""
    inject(language, options)
    for parameter in language.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, std=0.3)
    return language.eval()


def test_fresh_adapters_change_nothing_and_only_they_are_trained(language):
    ids = torch.arange(20)[None]
    before, count = language(ids).logits, len(list(language.parameters()))
    inject(language, OPTIONS)
    language.eval()
    torch.testing.assert_close(language(ids).logits, before, rtol=0, atol=0)
    names = [name for name, parameter in language.named_parameters() if parameter.requires_grad]
    assert len(names) == 2 * len(ADAPTED) * len(language.model.layers)
    assert all(".lora_A." in name or ".lora_B." in name for name in names)
    assert len(list(language.parameters())) == count + len(names)


def test_the_adapters_of_a_bf16_model_are_fp32(language):
    inject(language.to(torch.bfloat16), OPTIONS)
    kinds = {(parameter.requires_grad, parameter.dtype) for parameter in language.parameters()}
    assert kinds == {(True, torch.float32), (False, torch.bfloat16)}


def test_the_merged_weights_are_a_plain_qwen2_with_the_same_logits(language, tiny_config):
    base = copy.deepcopy(language.state_dict())
    adapted = trained(language)
    merged = dict(merge(base.items(), adapted.state_dict(), OPTIONS))
    plain = build_language(tiny_config.language).eval()
    plain.load_state_dict(merged)
    ids = torch.randint(0, 320, (2, 30))
    torch.testing.assert_close(plain(ids).logits, adapted(ids).logits, rtol=1e-4, atol=1e-4)
    plain.load_state_dict(base)
    assert not torch.allclose(plain(ids).logits, adapted(ids).logits, atol=0.01)
    changed = {name for name in base if not torch.equal(base[name], merged[name])}
    assert {name.split(".")[-2] for name in changed} == set(ADAPTED) and all(n.endswith("weight") for n in changed)


def test_merging_equals_pefts_own(language):
    base = copy.deepcopy(language.state_dict())
    adapted = trained(language)
    merged = dict(merge(base.items(), adapted.state_dict(), OPTIONS))
    for name, layer in adapted.named_modules():
        if name.endswith(ADAPTED):
            layer.merge()
            torch.testing.assert_close(merged[f"{name}.weight"], layer.get_base_layer().weight, rtol=1e-6, atol=1e-6)


def test_a_weight_that_was_stored_in_bf16_keeps_what_the_adapter_adds(language):
    base = {name: tensor.bfloat16() for name, tensor in language.state_dict().items()}
    merged = dict(merge(base.items(), trained(language).state_dict(), OPTIONS))
    kinds = {name.split(".")[-2]: tensor.dtype for name, tensor in merged.items() if name.endswith(".weight")}
    assert {name for name, dtype in kinds.items() if dtype == torch.float32} == set(ADAPTED)


def test_the_number_of_weights_is_that_of_another_recipe():
    """VITA-RL trains 161.5 M on the 28 layers of Qwen2.5-7B."""
    with torch.device("meta"):
        language = build_language(PRESETS["vita-7b"].language.model_copy(update={"num_layers": 1}))
    inject(language, LoraOptions(rank=64))
    assert 28 * sum(p.numel() for p in language.parameters() if p.requires_grad) == 161_480_704


def test_the_encoders_are_frozen_too():
    stage = adapted(find_stage("2.2"))
    heads = ("state_head", "end_of_turn_head")
    assert stage.trains == ("vision_adapter", "speech_adapter", "speech_prompt", "language", *heads)
    assert set(stage.loads) == set(find_stage("2.2").loads)


@pytest.mark.parametrize("name", ["0.1", "1.1", "2.1a", "3.2"])
def test_only_stages_of_a_language_model_that_began_elsewhere_have_it(name):
    with pytest.raises(ValueError, match=rf"stage {name} \(.*\) does not train further; 1\.2, 1\.3 and 2\.2 do"):
        adapted(find_stage(name))


def test_the_adapters_have_a_learning_rate_of_their_own():
    schedule = with_lora(find_stage("2.2").full, OPTIONS)
    assert schedule.lr_of == {"language": 2e-4} and schedule.lr == find_stage("2.2").full.lr


def test_an_option_out_of_range_is_refused():
    with pytest.raises(ValueError, match="rank"):
        LoraOptions(rank=0)
