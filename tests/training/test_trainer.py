"""The training loop: frozen parts stay, a step is its sums, a resumed stage is the same stage, a stop saves."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace

import pytest
import torch

from parley.models.parley import Parley
from training.attention import use_packed_attention
from training.ending import SampleError, StageInterruptionError
from training.identity import identity
from training.metrics_log import METRICS_FILE
from training.objectives.next_token import NextTokenObjective
from training.optimizers import share_of_peak
from training.options import Options
from training.recipe import Schedule, Stage, find_stage
from training.run_folder import saved_states
from training.stages.world_data import WorldData
from training.trainer import Trainer

TALK = Schedule(
    lr=1e-3, muon=1e-3, steps=6, batch=2, sequence_length=1024, tokens=1024, save_every=2, validate_every=100,
    mixture={"small_talk": 100},
)  # fmt: skip
CPU = torch.device("cpu")


@pytest.fixture
def make_trainer(tiny_config, tiny_tokenizer, tmp_path):
    """A trainer of a stage on little data; `name` tells runs apart."""

    def make(stage: Stage, schedule: Schedule, name: str = "run", seed: int = 0, data: str = "world", start=("a",)):
        torch.manual_seed(0)
        model = Parley(tiny_config, stage.loads)
        use_packed_attention(model.language)
        world = WorldData(stage, schedule, seed, tiny_tokenizer)
        world.__dict__["probe"] = [world.mixture[0]]  # a validation of one sample
        facts = identity(stage, schedule, seed, data, list(start))
        return Trainer(
            stage, schedule, NextTokenObjective(stage, model, world, seed), tmp_path / name, device=CPU,
            identity=facts, options=Options(), seed=seed,
        )  # fmt: skip

    return make


def snapshot(trainer: Trainer) -> dict[str, torch.Tensor]:
    model = trainer.objective.model
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def passes_of(trainer: Trainer, step: int):
    return trainer.objective.passes(trainer.objective.numbers(step), step)


def losses(trainer: Trainer) -> list[float]:
    found = []
    while trainer.step < trainer.schedule.steps:
        found.append(trainer.train_step(passes_of(trainer, trainer.step))["loss"])
        trainer.step += 1
    return found


def when(trainer: Trainer, step: int, do) -> None:
    """Calls `do()` before that step."""
    train_step = trainer.train_step

    def replaced(passes):
        if trainer.step == step:
            do()
        return train_step(passes)

    trainer.train_step = replaced


@pytest.mark.parametrize("name", ["0.1", "1.1", "1.2", "1.3"])
def test_a_stage_changes_exactly_the_parts_it_names(name, make_trainer):
    stage = find_stage(name)
    mixture = {"small_talk": 50, "captions": 50} if "vision_encoder" in stage.loads else {"small_talk": 100}
    trainer = make_trainer(stage, replace(TALK, mixture=mixture, batch=8, steps=2))
    before = snapshot(trainer)
    trainer.run()
    changed = {key.split(".")[0] for key, tensor in snapshot(trainer).items() if not tensor.equal(before[key])}
    assert changed == set(stage.trains)


def test_frozen_parts_get_no_gradient_and_stay_in_inference_mode(make_trainer):
    stage = find_stage("1.1")
    trainer = make_trainer(stage, replace(TALK, mixture={"captions": 100}))
    for _ in range(2):
        trainer.train_step(passes_of(trainer, 0))
        trainer.validate()  # puts all parts into inference mode, and back
    for part in stage.reads:
        module = getattr(trainer.objective.model, part)
        assert not module.training
        assert all(parameter.grad is None for parameter in module.parameters())
    assert trainer.objective.model.vision_adapter.training


def test_text_alone_in_vision_alignment_changes_nothing(make_trainer):
    """That was an uncaught error: the loss had no gradient for anything that is trained."""
    trainer = make_trainer(find_stage("1.1"), TALK)
    before = snapshot(trainer)
    metrics = trainer.train_step(passes_of(trainer, 0))
    assert metrics["gradient_norm"] == 0 and metrics["loss"] > 0
    after = snapshot(trainer)
    assert all(tensor.equal(before[name]) for name, tensor in after.items() if not name.startswith("vision_adapter"))


@pytest.mark.parametrize("tokens", [10_000, 400])
def test_a_step_is_the_gradient_of_the_mean_over_its_tokens(make_trainer, tokens):
    """However its samples are spread over passes: against autograd over each sample alone."""
    schedule = replace(TALK, batch=4, sequence_length=400, tokens=tokens, clip=1e9)
    trainer = make_trainer(replace(find_stage("0.1"), mixed_precision=False), schedule)
    objective, parameters = trainer.objective, list(trainer.objective.model.language.parameters())
    samples = [objective.passes([number], 0)[0] for number in range(4)]
    learned = sum(int((batch.labels >= 0).sum()) for batch in samples)
    loss = sum(objective(batch, 0)["next_token"] for batch in samples) / learned
    gradients = torch.autograd.grad(loss, parameters)
    passes = passes_of(trainer, 0)
    assert (len(passes) == 1) == (tokens == 10_000)
    metrics = trainer.train_step(passes)
    for parameter, expected in zip(parameters, gradients, strict=True):
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-3, atol=1e-6)
    norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
    assert metrics["gradient_norm"] == pytest.approx(norm.item(), rel=1e-4)
    assert metrics["loss"] == metrics["next_token"] == pytest.approx(loss.item(), rel=1e-5)
    assert metrics["tokens"] == sum(len(batch.ids) for batch in samples)
    longest = max(len(batch.ids) for batch in passes)  # all passes need memory for so many
    assert metrics["useful"] == pytest.approx(metrics["tokens"] / (len(passes) * longest))


def test_gradients_are_clipped(make_trainer):
    trainer = make_trainer(find_stage("0.1"), replace(TALK, clip=1e-3))
    assert trainer.train_step(passes_of(trainer, 0))["gradient_norm"] > 1  # before it is clipped
    norms = torch.stack([p.grad.norm() for p in trainer.objective.model.language.parameters()])
    assert norms.norm().item() == pytest.approx(1e-3, rel=1e-2)


def test_learning_rates_follow_the_schedule(make_trainer):
    schedule = replace(TALK, lr_of={"vision_adapter": 5e-4}, warmup=0.5, mixture={"captions": 100}, steps=4)
    trainer = make_trainer(find_stage("1.2"), schedule)
    for step in range(4):
        metrics = trainer.train_step(passes_of(trainer, step))
        trainer.step += 1
        share = share_of_peak(step, schedule)
        assert metrics["lr"] == pytest.approx(share * 1e-3)
        rates = {group["lr"] for optimizer in trainer.optimizers for group in optimizer.param_groups}
        assert {round(rate / share, 9) for rate in rates} == {1e-3, 5e-4}


def test_as_many_steps_as_asked_for(make_trainer):
    trainer = make_trainer(find_stage("0.1"), TALK)
    done = []
    train_step = trainer.train_step
    trainer.train_step = lambda passes: done.append(trainer.step) or train_step(passes)
    trainer.run()
    assert done == list(range(6)) and trainer.step == 6


def test_a_resumed_stage_goes_on_as_if_never_stopped(make_trainer):
    """Bit for bit, and with the same random numbers."""
    stage = find_stage("0.1")
    whole = make_trainer(stage, TALK, "whole")
    expected = draws_of(whole)
    whole.run()

    stopped = make_trainer(stage, TALK, "stopped")
    when(stopped, 2, lambda: setattr(stopped, "stopping", True))
    with pytest.raises(StageInterruptionError, match="stopped at step 3 of 6; --resume continues it"):
        stopped.run()
    torch.manual_seed(99)  # another process
    resumed = make_trainer(stage, TALK, "stopped")
    assert resumed.resume()
    assert resumed.step == 3
    found = draws_of(resumed)
    resumed.run()
    assert found == expected[3:] and len(set(expected)) == 6
    for name, tensor in snapshot(whole).items():
        assert tensor.equal(snapshot(resumed)[name]), name


def draws_of(trainer: Trainer) -> list[float]:
    """A random number of each step to come."""
    draws = []

    def draw(module, inputs) -> None:
        if module.training:
            draws.append(torch.rand(()).item())

    trainer.objective.register_forward_pre_hook(draw)
    return draws


def test_optimizers_are_resumed(make_trainer):
    stage = find_stage("0.1")
    trainer = make_trainer(stage, TALK)
    trainer.run()
    trainer.save()
    resumed = make_trainer(stage, TALK)
    resumed.resume()
    for one, other in zip(trainer.optimizers, resumed.optimizers, strict=True):
        before, after = one.state_dict()["state"], other.state_dict()["state"]
        assert before.keys() == after.keys() and before
        for number, state in before.items():
            assert state.keys() == after[number].keys()
            assert all(torch.equal(torch.as_tensor(value), after[number][key]) for key, value in state.items())


def test_a_killed_stage_loses_at_most_the_interval(make_trainer):
    stage = find_stage("0.1")
    whole = losses(make_trainer(stage, TALK, "whole"))
    killed = make_trainer(stage, TALK, "killed")

    def die():
        killed.states.finish()  # a kill while it is written: `tests/training/distributed`
        raise MemoryError

    when(killed, 5, die)
    with pytest.raises(MemoryError):
        killed.run()
    resumed = make_trainer(stage, TALK, "killed")
    resumed.resume()
    assert resumed.step == 4
    assert losses(resumed) == whole[4:]


def test_the_newest_states_are_kept(make_trainer):
    trainer = make_trainer(find_stage("0.1"), replace(TALK, save_every=1))
    trainer.run()
    assert [path.name for path in saved_states(trainer.folder)] == ["step-00000005", "step-00000004"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_stops(make_trainer, number):
    before = signal.getsignal(number)
    trainer = make_trainer(find_stage("0.1"), TALK)
    when(trainer, 0, lambda: os.kill(os.getpid(), number))
    with pytest.raises(StageInterruptionError, match="stopped at step 1 of 6"):
        trainer.run()
    assert [path.name for path in saved_states(trainer.folder)] == ["step-00000001"]
    assert signal.getsignal(number) is before


def test_a_signal_in_the_last_step_changes_nothing(make_trainer):
    trainer = make_trainer(find_stage("0.1"), replace(TALK, steps=2))
    when(trainer, 1, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert trainer.run()
    assert trainer.step == 2


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


def test_there_is_nothing_to_resume(make_trainer):
    assert not make_trainer(find_stage("0.1"), TALK).resume()


OTHERS = {
    "stage": ({"stage": "1.2", "mixture": {"captions": 100}}, r"another stage \(0\.1, now 1\.2\)"),
    "seed": ({"seed": 1}, r"another seed \(0, now 1\)|another --seed \(0, now 1\)"),
    "data": ({"data": "others"}, r"another --data \(world, now others\)"),
    "start": ({"start": ("b",)}, r"another --from \(\['a'\], now \['b'\]\)"),
    "recipe": ({"lr": 5e-4}, r"lr 0\.001, now 0\.0005"),
    "batch": ({"batch": 4}, r"batch 2, now 4"),
}


@pytest.mark.parametrize(("changed", "message"), OTHERS.values(), ids=OTHERS)
def test_a_state_of_something_else_is_refused(make_trainer, changed, message):
    stopped = make_trainer(find_stage("0.1"), TALK)
    stopped.stopping = True
    with pytest.raises(StageInterruptionError):
        stopped.run()
    given = {name: changed.pop(name) for name in ("seed", "data", "start") if name in (changed := dict(changed))}
    stage = find_stage(changed.pop("stage", "0.1"))
    other = make_trainer(stage, replace(TALK, **changed), **given)
    before = snapshot(other)
    with pytest.raises(ValueError, match=message) as raised:
        other.resume()
    assert str(other.folder) in str(raised.value) and "use another --run" in str(raised.value)
    assert all(tensor.equal(before[name]) for name, tensor in snapshot(other).items())


def test_how_it_is_computed_may_change(make_trainer):
    """The size of a pass, and how often it is saved."""
    stopped = make_trainer(find_stage("0.1"), TALK)
    stopped.stopping = True
    with pytest.raises(StageInterruptionError):
        stopped.run()
    assert make_trainer(find_stage("0.1"), replace(TALK, tokens=2048, save_every=1, validate_every=5)).resume()


def test_a_loss_that_is_not_finite_is_a_mistake_of_its_step(make_trainer):
    trainer = make_trainer(find_stage("0.1"), TALK)

    def spoil():
        with torch.no_grad():
            trainer.objective.model.language.lm_head.weight.fill_(torch.nan)

    when(trainer, 3, spoil)
    with pytest.raises(ValueError, match=r"stage 0\.1: the loss is nan at step 3; lower the learning rate"):
        trainer.run()
    assert [path.name for path in saved_states(trainer.folder)] == ["step-00000002"]  # not one of NaN


def test_a_gradient_that_is_not_finite_changes_no_weight(make_trainer):
    """The loss of its step may be finite: NaN was learned, and could be saved, before the next step told."""
    trainer = make_trainer(find_stage("0.1"), replace(TALK, save_every=1))
    weight = trainer.objective.model.language.lm_head.weight
    weight.register_hook(lambda gradient: gradient * torch.nan if trainer.step == 3 else gradient)
    with pytest.raises(ValueError, match=r"stage 0\.1: the norm of the gradient is nan at step 3"):
        trainer.run()
    assert weight.isfinite().all()


def test_a_sample_that_cannot_be_learned_from_ends_the_stage(make_trainer):
    trainer = make_trainer(find_stage("0.1"), replace(TALK, sequence_length=32))
    with pytest.raises(SampleError, match=r"sample \d of small_talk: \d+ tokens; a sequence holds 32"):
        trainer.run()


def test_a_validation_is_the_same_twice(make_trainer):
    trainer = make_trainer(find_stage("1.2"), replace(TALK, mixture={"captions": 100}))
    first = trainer.validate()
    assert trainer.validate() == first != {}
    trainer.train_step(passes_of(trainer, 0))
    assert trainer.objective.training


def test_the_time_of_a_stage_goes_on_after_a_resume(make_trainer):
    stopped = make_trainer(find_stage("0.1"), TALK)
    stopped.seconds, stopped.stopping = 100.0, True
    with pytest.raises(StageInterruptionError):
        stopped.run()
    resumed = make_trainer(find_stage("0.1"), TALK)
    resumed.resume()
    assert resumed.seconds > 100


def test_learning_goes_down(make_trainer):
    trainer = make_trainer(find_stage("0.1"), replace(TALK, steps=20, lr=3e-3))
    found = losses(trainer)
    assert sum(found[-5:]) < 0.8 * sum(found[:5])


def test_a_pass_that_is_too_large_for_the_memory_is_told_in_one_line(make_trainer):
    trainer = make_trainer(find_stage("0.1"), TALK)

    def too_large(batch, step):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    trainer.objective.forward = too_large
    told = (
        r"stage 0.1: out of memory at step 0, in a pass of \d+ tokens; give fewer --tokens \(now 1,024\) or a shorter"
    )
    with pytest.raises(SampleError, match=told):
        trainer.run()
