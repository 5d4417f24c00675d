"""Vision pretraining: labels match what is drawn, the heads are trained with the encoder and not kept."""

from __future__ import annotations

import pytest
import torch

from parley.config import preset
from parley.models.parley import Parley
from training.data.world.pictures import LABEL_SIZES
from training.objectives.cells import CellsObjective
from training.recipe import Schedule, find_stage
from training.stages.world_data import WorldData
from training.trainer import Trainer

SCHEDULE = Schedule(lr=1e-3, steps=2, batch=4, validate_every=100, mixture={"pictures": 100})


@pytest.fixture
def trainer(tmp_path):
    stage = find_stage("0.2")
    torch.manual_seed(0)
    model = Parley(preset("nano"), stage.loads)
    objective = CellsObjective(stage, model, WorldData(stage, SCHEDULE, 0, None), 0, label_sizes=LABEL_SIZES)
    return Trainer(stage, SCHEDULE, model, objective, tmp_path)


def test_a_label_for_each_token(trainer):
    batch = trainer.objective.batch(0)
    tokens = trainer.model.vision_encoder(batch.pixels)
    for name, labels in batch.labels.items():
        assert labels.shape == tokens.shape[:2], name
        assert int(labels.max()) < LABEL_SIZES[name]


def test_encoder_and_heads_learn_and_only_the_encoder_is_a_part(trainer):
    heads = {name: tensor.clone() for name, tensor in trainer.extra.named_parameters()}
    encoder = {name: tensor.clone() for name, tensor in trainer.model.vision_encoder.named_parameters()}
    for step in range(2):
        trainer.train_step(trainer.objective.batch(step))
        trainer.step += 1
    assert any(not tensor.equal(heads[name]) for name, tensor in trainer.extra.named_parameters())
    changed = [not tensor.equal(encoder[name]) for name, tensor in trainer.model.vision_encoder.named_parameters()]
    assert any(changed)
    assert set(trainer.model.state_dict()) == {
        f"vision_encoder.{name}" for name in trainer.model.vision_encoder.state_dict()
    }


def test_the_heads_are_resumed_too(trainer):
    trainer.train_step(trainer.objective.batch(0))
    trainer.step = 1
    trainer.save()
    expected = {name: tensor.clone() for name, tensor in trainer.extra.named_parameters()}
    with torch.no_grad():
        for tensor in trainer.extra.parameters():
            tensor.zero_()
    assert trainer.resume()
    for name, tensor in trainer.extra.named_parameters():
        assert tensor.equal(expected[name])


def test_batches_are_a_function_of_the_step(trainer):
    one, same, other = trainer.objective.batch(1), trainer.objective.batch(1), trainer.objective.batch(2)
    assert torch.equal(one.pixels, same.pixels)
    assert not torch.equal(one.pixels, other.pixels)
