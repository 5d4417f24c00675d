"""What training needs, against published and measured figures, and against bytes that are really there."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from parley.checkpoints import save_stage
from parley.config import preset
from parley.models.parley import Parley
from training.lora_options import LoraOptions
from training.optimizers import build_optimizers
from training.recipe import find_stage
from training.resources.amount import Amount
from training.resources.estimate import GB, Cluster, Planner, refusal
from training.resources.memory import disk, parameters
from training.resources.sizes import measure
from training.resources.speed import language_operations, vision_operations

H100 = Cluster(gpus=8, gpu_memory=80)


@pytest.fixture(scope="module")
def full() -> Planner:
    return Planner.of(preset("vita-7b"))


@pytest.mark.parametrize(
    ("stage", "gigabytes"),
    [("1.1", 32.1), ("1.2", 127.2), ("1.3", 127.2), ("2.1b", 32.2), ("2.2", 133.2), ("3.2", 32.7)],
)
def test_parameters_are_those_of_fp32_throughout(full: Planner, stage: str, gigabytes: float) -> None:
    """Computed before, from the parts on `meta`: weights, gradients and two moments in fp32, frozen parts in fp32."""
    counts = parameters(find_stage(stage), full.sizes)
    assert (16 * counts.trained + 4 * (counts.frozen + counts.precise)) / GB == pytest.approx(gigabytes, abs=0.1)


@pytest.mark.parametrize("name", ["1.1", "2.1b", "3.2"])
def test_frozen_parts_in_bf16_take_half(full: Planner, name: str) -> None:
    stage = find_stage(name)
    memory = full.memory(stage, stage.full, gpus=1)
    assert 16 <= (memory.state + memory.frozen) / GB <= 17.5


def test_lora_needs_what_another_recipe_reports(full: Planner) -> None:
    """VITA-RL: 161.5 M trained on Qwen2.5-7B take 23.3 GB of one GPU."""
    stage = find_stage("1.3")
    short = replace(stage.full, tokens=1024, sequence_length=1024)
    adapted = replace(full, lora=LoraOptions(rank=64))
    assert full.sizes["language"].adapters(64) / 1e6 == pytest.approx(161.5, abs=0.05)
    assert adapted.memory(stage, short, gpus=1).total / GB == pytest.approx(23.3, rel=0.15)


def test_operations_of_a_token_are_those_of_the_specification(full: Planner) -> None:
    """6 N and causal attention at 6,200 tokens; a token of a picture where the vision encoder is trained."""
    config, sizes = full.config, full.sizes
    assert language_operations(config, sizes, 6200, trained=True) / 1e9 == pytest.approx(49.4, abs=0.05)
    assert vision_operations(config, sizes, trained=True) / 1e9 == pytest.approx(8.5, abs=0.05)


def test_operations_of_lora_are_as_published(full: Planner) -> None:
    """NeMo AutoModel: Qwen2.5-7B by LoRA on one H100, sequences of 4,096: 14,110 tokens/s are 423 TFLOP/s."""
    needed = language_operations(full.config, full.sizes, 4096, trained=True, lora=LoraOptions())
    assert needed == pytest.approx(423e12 / 14_110, rel=0.15)


@pytest.mark.parametrize(("gpus", "days"), [(8, 12), (32, 3)])
def test_the_paper_takes_days(full: Planner, gpus: int, days: float) -> None:
    stage = find_stage("1.2")
    estimate = full.estimate(stage, stage.full, Cluster(gpus=gpus, gpu_memory=80), Amount())
    assert estimate.tokens_a_second == pytest.approx(gpus / 8 * 55e3, rel=0.02)
    assert estimate.days == pytest.approx(days, rel=0.02)


def test_a_measured_rate_is_taken_as_it_is(full: Planner) -> None:
    stage = find_stage("1.2")
    cluster = Cluster(gpus=4, gpu_memory=80, measured=5_000)
    estimate = full.estimate(stage, stage.full, cluster, Amount(samples=1e6, sample_tokens=1_000))
    assert estimate.tokens_a_second == 20_000 and estimate.days == pytest.approx(1e9 / 20_000 / 86_400)


def test_the_recipes_shares_are_taken_of_a_users_dialogues(made, mix_of) -> None:
    mix = mix_of(made("captions", 1_000), made("questions", 500), made("transcriptions", 300))
    taken = {name: Amount().of_mix(mix, find_stage(name).full).samples for name in ("1.1", "1.2", "1.3", "2.2")}
    assert taken == {"1.1": 200, "1.2": 1_000, "1.3": 500 + 200, "2.2": 40 + 50}


def test_more_gpus_share_what_is_trained_and_nothing_else(full: Planner) -> None:
    stage = find_stage("1.2")
    one, eight = (full.memory(stage, stage.full, gpus) for gpus in (1, 8))
    assert eight.state == one.state / 8
    assert replace(eight, state=0) == replace(one, state=0)


def test_what_does_not_fit_is_refused_with_what_would(full: Planner) -> None:
    stage = find_stage("1.3")
    cluster = Cluster(gpus=1, gpu_memory=24)
    line = refusal(full, full.estimate(stage, stage.full, cluster, Amount()), stage.full, cluster)
    assert line.startswith("stage 1.3 needs 167.9 GB of the GPU, which has 24; would fit: --lora --tokens 1024")
    assert line.endswith("or vita-small --tokens 2048 --sequence-length 2048")
    assert refusal(full, full.estimate(stage, stage.full, H100, Amount()), stage.full, H100) is None


@pytest.mark.parametrize(("memory", "gpus"), [(80, 1), (24, 1), (16, 2)])
@pytest.mark.parametrize("name", ["1.1", "1.3", "2.2", "3.1", "3.2"])
def test_each_way_out_fits(full: Planner, name: str, memory: float, gpus: int) -> None:
    stage = find_stage(name)
    for option in full.would_fit(stage, stage.full, Cluster(gpus=gpus, gpu_memory=memory)):
        words = option.split()
        planner = Planner.of(preset("vita-small")) if "vita-small" in words else full
        planner = replace(planner, lora=LoraOptions() if "--lora" in words else None)
        more = int(words.pop(0)) if words[-1] == "GPUs" else gpus
        pairs = [word for word in words if word not in ("vita-small", "--lora", "GPUs")]
        numbers = dict(zip(pairs[::2], map(int, pairs[1::2]), strict=True))
        limits = {key.removeprefix("--").replace("-", "_"): number for key, number in numbers.items()}
        assert planner.memory(stage, replace(stage.full, **limits), more).total <= memory * GB, option


@pytest.mark.parametrize("name", ["1.1", "1.3", "2.1a", "2.2", "3.1", "3.2"])
def test_files_have_the_sizes_that_were_planned(name: str, tiny_config, tmp_path) -> None:
    """A step of the real optimizers on a small model, and its checkpoint."""
    stage = find_stage(name)
    torch.manual_seed(0)
    model = Parley(tiny_config, stage.trains)
    parts = {part: getattr(model, part) for part in stage.trains}
    optimizers = build_optimizers(parts, stage.full)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    for optimizer in optimizers:
        optimizer.step()
    state = [t for optimizer in optimizers for each in optimizer.state.values() for t in each.values()]
    planned = disk(stage, measure(tiny_config))
    written = sum(tensor.nbytes for tensor in (*model.parameters(), *state))
    assert written == pytest.approx(planned.saved_state, rel=0.02)
    save_stage(
        tmp_path / name,
        stage=name,
        config=tiny_config,
        parts={part: part_.state_dict() for part, part_ in parts.items()},
    )
    files = sum(file.stat().st_size for file in (tmp_path / name).glob("*.safetensors"))
    assert files == pytest.approx(planned.checkpoint, rel=0.15)
