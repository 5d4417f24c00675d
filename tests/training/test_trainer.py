"""The training loop: frozen parts do not change, a resumed stage is the same stage, a stop saves."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace

import pytest
import torch
from training.resume_file import RESUME_FILE

from parley.models.parley import Parley
from training.metrics_log import METRICS_FILE
from training.objectives.next_token import NextTokenObjective
from training.recipe import Schedule, Stage, find_stage
from training.stages.world_data import WorldData
from training.trainer import StageInterruptionError, Trainer

TALK = Schedule(
    lr=1e-3,
    muon=1e-3,
    steps=6,
    batch=3,
    sequence_length=1024,
    save_every=2,
    validate_every=100,
    mixture={"small_talk": 100},
)


@pytest.fixture
def make_trainer(tiny_config, tiny_tokenizer, tmp_path, monkeypatch):
    """A trainer of a stage on little data; `name` tells runs apart."""

    def make(stage: Stage, schedule: Schedule, name: str = "run") -> Trainer:
        torch.manual_seed(0)
        model = Parley(tiny_config, stage.loads)
        data = WorldData(stage, schedule, 0, tiny_tokenizer)
        data.__dict__["probe"] = [data.mixture[0]]  # a validation of one sample
        return Trainer(stage, schedule, model, NextTokenObjective(stage, model, data, 0), tmp_path / name, seed=0)

    return make


def snapshot(model) -> dict[str, torch.Tensor]:
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {name: tensor.clone() for name, tensor in tensors.items()}


def losses(trainer: Trainer) -> list[float]:
    found = []
    while trainer.step < trainer.schedule.steps:
        found.append(trainer.train_step(trainer.objective.batch(trainer.step))["loss"])
        trainer.step += 1
    return found


@pytest.mark.parametrize("name", ["0.1", "1.1", "1.2", "1.3"])
def test_a_stage_changes_exactly_the_parts_it_names(name, make_trainer):
    stage = find_stage(name)
    mixture = {"small_talk": 50, "captions": 50} if "vision_encoder" in stage.loads else {"small_talk": 100}
    trainer = make_trainer(stage, replace(TALK, mixture=mixture, batch=8, steps=2))
    before = snapshot(trainer.model)
    trainer.run()
    changed = {key.split(".")[0] for key, tensor in snapshot(trainer.model).items() if not tensor.equal(before[key])}
    assert changed == set(stage.trains)


def test_frozen_parts_get_no_gradient_and_stay_in_inference_mode(make_trainer):
    stage = find_stage("1.1")
    trainer = make_trainer(stage, replace(TALK, mixture={"captions": 100}))
    trainer.train_step(trainer.objective.batch(0))
    for part in stage.reads:
        module = getattr(trainer.model, part)
        assert not module.training
        assert all(parameter.grad is None for parameter in module.parameters())
    assert trainer.model.vision_adapter.training


def test_a_resumed_stage_goes_on_as_if_never_stopped(make_trainer):
    stage = find_stage("0.1")
    whole = make_trainer(stage, TALK, "whole")
    whole.run()

    stopped = make_trainer(stage, TALK, "stopped")
    step = stopped.train_step

    def stop_after_three(batch):
        metrics = step(batch)
        stopped.stopping = stopped.step == 2
        return metrics

    stopped.train_step = stop_after_three
    with pytest.raises(StageInterruptionError, match="stopped at step 3 of 6"):
        stopped.run()
    resumed = make_trainer(stage, TALK, "stopped")
    assert resumed.resume()
    assert resumed.step == 3
    resumed.run()
    for name, tensor in snapshot(whole.model).items():
        assert tensor.equal(snapshot(resumed.model)[name]), name


def test_a_killed_stage_loses_at_most_the_interval(make_trainer):
    stage = find_stage("0.1")
    whole = losses(make_trainer(stage, TALK, "whole"))
    killed = make_trainer(stage, TALK, "killed")
    step = killed.train_step

    def die_at_step_five(batch):
        if killed.step == 5:
            raise MemoryError
        return step(batch)

    killed.train_step = die_at_step_five
    with pytest.raises(MemoryError):
        killed.run()
    resumed = make_trainer(stage, TALK, "killed")
    resumed.resume()
    assert resumed.step == 4
    assert losses(resumed) == whole[4:]


def test_a_signal_saves_and_stops(make_trainer):
    trainer = make_trainer(find_stage("0.1"), TALK)
    step = trainer.train_step

    def be_told_to_stop(batch):
        os.kill(os.getpid(), signal.SIGTERM)
        return step(batch)

    trainer.train_step = be_told_to_stop
    with pytest.raises(StageInterruptionError):
        trainer.run()
    assert (trainer.folder / RESUME_FILE).exists()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_metrics_of_steps_done_again_are_not_there_twice(make_trainer):
    trainer = make_trainer(find_stage("0.1"), TALK)
    trainer.run()
    trainer.step = 4
    trainer.save()
    with (trainer.folder / METRICS_FILE).open("a") as metrics:
        metrics.write('{"step": 6, "lo')  # cut short by a kill
    again = make_trainer(find_stage("0.1"), TALK)
    again.resume()
    steps = [json.loads(line)["step"] for line in (again.folder / METRICS_FILE).read_text().splitlines()]
    assert all(step <= 4 for step in steps)


def test_a_stage_killed_before_its_first_save_starts_its_curves_anew(make_trainer):
    for _ in range(2):
        make_trainer(find_stage("0.1"), replace(TALK, steps=1)).run()
    lines = (make_trainer(find_stage("0.1"), TALK).folder / METRICS_FILE).read_text().splitlines()
    assert len([line for line in lines if "loss_smooth" in line]) == 1


def test_a_resume_file_of_another_stage_is_refused(make_trainer):
    trainer = make_trainer(find_stage("0.1"), TALK)
    trainer.folder.mkdir()
    trainer.save()
    other = make_trainer(find_stage("1.2"), replace(TALK, mixture={"captions": 100}))
    with pytest.raises(ValueError, match=r"is of stage 0\.1, seed 0; this is stage 1\.2"):
        other.resume()


def test_learning_goes_down(make_trainer):
    trainer = make_trainer(find_stage("0.1"), replace(TALK, steps=30, lr=3e-3))
    found = losses(trainer)
    assert sum(found[-5:]) < 0.8 * sum(found[:5])
