"""Vision pretraining: labels match what is drawn, sums are those of each cell, the heads are not kept."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from parley.config import preset
from parley.models.parley import Parley
from training.data.world.pictures import LABEL_SIZES
from training.identity import identity
from training.objectives import cells
from training.objectives.cells import CellsObjective
from training.options import Options
from training.recipe import Schedule, find_stage
from training.stages.world_data import WorldData
from training.trainer import Trainer

SCHEDULE = Schedule(lr=1e-3, steps=2, batch=4, validate_every=100, mixture={"pictures": 100})
STAGE = find_stage("0.2")


@pytest.fixture
def objective(monkeypatch):
    monkeypatch.setattr(cells, "VALIDATED", 10)
    monkeypatch.setattr(cells, "VALIDATION_BATCH", 4)
    torch.manual_seed(0)
    model = Parley(preset("nano"), STAGE.loads)
    return CellsObjective(model, WorldData(STAGE, SCHEDULE, 0, None), 0, label_sizes=LABEL_SIZES)


@pytest.fixture
def trainer(objective, tmp_path):
    facts = identity(STAGE, SCHEDULE, 0, "world", [])
    cpu = torch.device("cpu")
    return Trainer(STAGE, SCHEDULE, objective, tmp_path, device=cpu, identity=facts, options=Options())


def passes_of(objective, step: int):
    return objective.passes(objective.numbers(step), step)


def test_a_label_for_each_token(objective):
    [batch] = passes_of(objective, 0)
    tokens = objective.model.vision_encoder(batch.pixels)
    for name, labels in batch.labels.items():
        assert labels.shape == tokens.shape[:2], name
        assert int(labels.max()) < LABEL_SIZES[name]


def test_a_process_without_samples_has_no_passes(objective):
    """Of two processes that share a step of one picture: that was an error without a meaning."""
    assert objective.passes([], 0) == []


def test_the_sums_are_those_of_each_cell(objective, monkeypatch):
    monkeypatch.setattr(cells, "NOISE", 0.0)
    [batch] = passes_of(objective, 0)
    with torch.no_grad():
        found, tokens = objective(batch, 0), objective.model.vision_encoder(batch.pixels)
        for name, labels in batch.labels.items():
            known = [(p, c) for p in range(4) for c in range(labels.shape[1]) if labels[p, c] >= 0]
            losses = [F.cross_entropy(objective.extra[name](tokens[p, c]), labels[p, c]) for p, c in known]
            torch.testing.assert_close(found[name], sum(losses), rtol=1e-4, atol=1e-3)
            assert objective.counts(batch)[f"{name}_cells"] == len(known)
    assert objective.counts(batch)["positions"] == 4


def test_the_heads_read_noise_as_large_as_half_a_token(objective):
    [batch] = passes_of(objective, 0)
    weight = next(iter(objective.extra.values())).weight
    name = next(iter(objective.extra))
    with torch.no_grad():
        objective.extra[name].bias.zero_()
        tokens = objective.model.vision_encoder(batch.pixels)
        read = []
        objective.extra[name].register_forward_pre_hook(lambda module, inputs: read.append(inputs[0]))
        objective(batch, 0)
    noise = read[0] - tokens[:, : read[0].shape[1]]
    assert weight.shape[1] == tokens.shape[-1]
    assert noise.std() == pytest.approx(0.5 * tokens.square().mean().sqrt().item(), rel=0.02)


def test_encoder_and_heads_learn_and_only_the_encoder_is_a_part(trainer):
    objective = trainer.objective
    before = {name: tensor.clone() for name, tensor in objective.named_parameters()}
    for step in range(2):
        trainer.train_step(passes_of(objective, step))
        trainer.step += 1
    changed = {name.split(".")[0] for name, tensor in objective.named_parameters() if not tensor.equal(before[name])}
    assert changed == {"model", "extra"}
    assert all(name.startswith("vision_encoder.") for name in objective.model.state_dict())


def test_the_heads_are_resumed_too(trainer):
    objective = trainer.objective
    trainer.run()  # writes what the states belong to
    trainer.step = 1
    trainer.save()
    expected = {name: tensor.clone() for name, tensor in objective.extra.named_parameters()}
    with torch.no_grad():
        for tensor in objective.extra.parameters():
            tensor.zero_()
    assert trainer.resume()
    for name, tensor in objective.extra.named_parameters():
        assert tensor.equal(expected[name])


def test_steps_are_a_function_of_the_number(objective):
    [one], [same], [other] = (passes_of(objective, step) for step in (1, 1, 2))
    assert torch.equal(one.pixels, same.pixels)
    assert not torch.equal(one.pixels, other.pixels)
    [alone] = objective.passes([6], 0)
    assert torch.equal(alone.pixels[0], one.pixels[2])


@torch.no_grad()
def test_the_figures_are_those_of_each_picture(objective):
    """Percent of cells that are right, over batches of two processes and a blank one, against cell after cell."""
    objective.eval()
    batches = [batch for rank in range(2) for batch in objective.probe(rank, 2)] + [objective.blank()]
    assert len(batches) == 5
    figures = objective.summary({"cells": sum(objective(batch, 0)["cells"] for batch in batches)})
    for name in LABEL_SIZES:
        right = []
        for number in range(10):
            [picture] = [objective._make(objective.data.heldout, [number])]
            tokens = objective.model.vision_encoder(picture.pixels)[0]
            for cell, label in enumerate(picture.labels[name][0].tolist()):
                if label >= 0:
                    right.append(int(objective.extra[name](tokens[cell]).argmax()) == label)
        assert figures[name] == pytest.approx(100 * sum(right) / len(right))


def test_a_blank_pass_counts_nothing(objective):
    blank = objective.blank()
    counts = objective.counts(blank)
    assert not any(counts[term.per] for term in objective.terms.values())
    sum(objective(blank, 0).values()).backward()
    gradients = [weight.grad for weight in objective.parameters()]
    assert all(gradient is not None and not gradient.any() for gradient in gradients)
