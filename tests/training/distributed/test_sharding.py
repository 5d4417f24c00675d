"""Proofs on several processes (gloo): sharded training is plain training, and nothing is lost, hangs or goes astray."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest

from tests.training.distributed import tiny
from training.objectives.objective import share
from training.run_folder import saved_states

pytestmark = pytest.mark.xdist_group("sharding")  # the same fixtures for all: made by one test process
TOLERANCE = 1e-5  # relative; of losses and figures over 20 steps
NORM_TOLERANCE = 1e-3  # of the gradient's norm, which is far more sensitive


def run(world_size: int, task: str, folder: Path) -> list[str]:
    """What the processes of a task wrote to standard error. They must end well."""
    processes = tiny.start(world_size, task, folder)
    try:
        found = [process.communicate(timeout=240)[1] for process in processes]
    finally:
        tiny.kill(processes)
    assert [process.returncode for process in processes] == [0] * world_size, "\n".join(found)
    return found


def assert_same(found: list[dict], expected: list[dict]) -> None:
    assert len(found) == len(expected)
    for step, (mine, other) in enumerate(zip(found, expected, strict=True)):
        assert mine.keys() == other.keys()
        for name in mine.keys() - {"useful"}:  # depends on how the passes are packed
            tolerance = NORM_TOLERANCE if name == "gradient_norm" else TOLERANCE
            assert mine[name] == pytest.approx(other[name], rel=tolerance, abs=tolerance), (step, name)


@pytest.fixture(scope="module", autouse=True)
def small():
    with tiny.small():
        yield


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> dict[str, list[dict]]:
    """Each stage in one process, not sharded."""
    return tiny.all_stages(tmp_path_factory.mktemp("alone"))


@pytest.fixture(scope="module")
def sharded(tmp_path_factory) -> dict[str, list[dict]]:
    """Each stage in two processes, sharded; one has text and short answers alone."""
    folder = tmp_path_factory.mktemp("sharded")
    run(2, "train_all", folder)
    return json.loads((folder / "found.json").read_text())


@pytest.mark.parametrize("name", tiny.NAMES)
def test_sharded_is_plain(alone, sharded, name):
    assert_same(sharded[name], alone[name])
    assert alone[name][-2]["loss"] < alone[name][0]["loss"] or name == "3.1"  # whose loss gains terms


@pytest.mark.parametrize("name", ["1.2", "2.1a", "2.2", "3.1", "3.2"])
def test_many_passes_are_one_batch(alone, name, tmp_path):
    made = tiny.trainer(name, tmp_path, tokens={"2.1a": 200, "3.1": 160, "3.2": 60}.get(name, 256))
    assert len(made.objective.passes(made.objective.numbers(0), 0)) > 1
    assert_same(tiny.losses(made), alone[name])


def test_what_is_computed_again_is_the_same(alone, tmp_path):
    assert_same(tiny.losses(tiny.trainer("2.2", tmp_path, recompute=True)), alone["2.2"])


def test_bf16_as_on_a_gpu_learns_the_same(alone, tmp_path):
    """Masters in fp32, sharded; all else in bf16. No network mixes the types, and the losses are those of fp32."""
    run(2, "train_in_bf16", tmp_path)
    for name, found in json.loads((tmp_path / "found.json").read_text()).items():
        for mine, exact in zip(found[:-1], alone[name][:-1], strict=True):
            assert mine["loss"] == pytest.approx(exact["loss"], rel=0.02), name


@pytest.fixture(scope="module")
def stopped(tmp_path_factory) -> Path:
    """Stage 2.2, saved by two processes at its twelfth step."""
    folder = tmp_path_factory.mktemp("stopped")
    run(2, "stop_early", folder)
    assert saved_states(folder)[0].name == "step-00000012"
    return folder


def copied(folder: Path, to: Path) -> Path:
    return shutil.copytree(folder, to, dirs_exist_ok=True)


def test_saved_on_two_resumed_on_one(alone, stopped, tmp_path):
    made = tiny.trainer("2.2", copied(stopped, tmp_path))
    assert made.resume() and made.step == 12
    assert_same(tiny.losses(made), alone["2.2"][12:])


def test_saved_on_two_resumed_on_three(alone, stopped, tmp_path):
    run(3, "go_on", copied(stopped, tmp_path))
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["first"] == 12
    assert_same(found["found"], alone["2.2"][12:])


def test_killed_while_it_saves_it_goes_on_from_the_state_before(alone, tmp_path):
    processes = tiny.start(2, "slow_save", tmp_path)
    try:
        until = time.monotonic() + 120
        while not (tmp_path / "saving").exists():
            assert time.monotonic() < until and all(process.poll() is None for process in processes)
            time.sleep(0.02)
    finally:
        tiny.kill(processes)
    assert (tmp_path / "step-00000010").exists()
    made = tiny.trainer("1.1", tmp_path)
    assert made.resume() and made.step == 5
    assert_same(tiny.losses(made), alone["1.1"][5:])


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("not_finite", "stage 1.2: the loss is nan at step 2; lower the learning rate"),
        ("bad_sample", "tokens; a sequence holds 40"),
    ],
)
def test_what_goes_wrong_in_one_process_ends_all(task, message, tmp_path):
    codes, errors = ended(task, tmp_path)
    assert codes == [1, 1], errors
    said = "".join(errors)
    assert said.count(message) == 1 and "Traceback" not in said, said


def ended(task: str, folder: Path) -> tuple[list[int], list[str]]:
    """The exit codes of a task's two processes, and what they wrote to standard error."""
    processes = tiny.start(2, task, folder)
    try:
        errors = [process.communicate(timeout=120)[1] for process in processes]
    finally:
        tiny.kill(processes)
    return [process.returncode for process in processes], errors


def test_a_process_that_is_killed_ends_the_other_with_one_line(tmp_path):
    codes, errors = ended("lose_one", tmp_path)
    assert codes == [1, -9], errors
    assert "another process of this training has ended" in errors[0] and "Traceback" not in errors[0], errors[0]


def test_the_samples_of_a_step_are_the_same_for_any_number_of_processes():
    made = tiny.objective("2.1a", tiny.Schedule(lr=1.0, batch=tiny.BATCH))
    for step in (0, 7, 20):
        numbers = made.numbers(step)
        for world_size in (1, 2, 3, 4):
            parts = [share(numbers, rank, world_size) for rank in range(world_size)]
            assert [number for part in parts for number in part] == numbers
            assert max(map(len, parts)) - min(map(len, parts)) <= 1
