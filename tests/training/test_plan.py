"""The plan: which stages are due, how many at a time, and which are shared by several processes."""

from __future__ import annotations

import pytest

from training.plan import Progress, Start, all_build_on, can_be_shared, due, to_share
from training.recipe import find_stage, recipe

NAMES = [stage.name for stage in recipe("nano")]


def progress(finished: str = "", running: dict[str, int] | None = None, jobs: int = 2) -> Progress:
    return Progress("nano", jobs, set(finished.split()), running or {})


def names(starts: list[Start]) -> list[tuple[str, int]]:
    return [(start.stage.name, start.processes) for start in starts]


def test_at_first_the_stages_that_build_on_nothing_are_due():
    assert names(due(progress())) == [("0.1", 1), ("0.2", 1)]
    assert names(due(progress(jobs=3))) == [("0.1", 1), ("0.2", 1), ("2.1a", 1)]


def test_no_more_than_jobs_run():
    assert due(progress(running={"0.1": 1, "0.2": 1})) == []
    assert names(due(progress(running={"0.1": 1}))) == [("0.2", 1)]
    assert names(due(progress("0.1", running={"0.2": 1}))) == [("2.1a", 1)]


def test_a_stage_waits_for_what_it_builds_on():
    assert "2.1b" not in [name for name, _ in names(due(progress("0.1 0.2 1.1 1.2 2.1a", {"1.3": 1}, jobs=8)))]
    assert names(due(progress("0.1 0.2 1.1 1.2 1.3 2.1a 3.1"))) == [("2.1b", 2)]


def test_a_stage_that_stopped_is_due_again():
    assert names(due(progress("0.1 0.2 1.1", {}))) == [("1.2", 1), ("2.1a", 1)]


def test_nothing_is_due_when_all_is_finished():
    assert due(progress(" ".join(NAMES))) == []


@pytest.mark.parametrize("jobs", [1, 2, 3])
def test_every_run_ends(jobs):
    """Stages that end one by one, in any order that the plan allows: each is started once."""
    finished, running, begun = set(), {}, []
    while starts := due(Progress("nano", jobs, finished, running)) or list(running):
        for start in due(Progress("nano", jobs, finished, running)):
            running[start.stage.name] = start.processes
            begun.append(start.stage.name)
        assert 0 < len(running) <= jobs and starts
        ended = max(running)
        finished = finished | {ended}
        del running[ended]
    assert sorted(begun) == sorted(NAMES)


def test_a_stage_left_alone_is_to_be_shared():
    alone = progress("0.1 0.2 1.1 1.2 2.1a 3.1", {"1.3": 1})
    assert to_share(alone) is find_stage("1.3")
    assert to_share(progress("0.1 0.2 1.1 1.2 2.1a", {"1.3": 1})) is None  # the codec could run beside it
    assert to_share(progress("0.1 0.2 1.1 1.2 2.1a 3.1", {"1.3": 2})) is None  # it is shared already
    assert to_share(progress("0.1 0.2 1.1 1.2", {"1.3": 1, "2.1a": 1})) is None
    assert to_share(progress("0.1 0.2 1.1 1.2 2.1a 3.1", {"1.3": 1}, jobs=1)) is None


@pytest.mark.parametrize(
    ("name", "finished", "expected"),
    [
        ("0.1", "", False),
        ("0.2", "0.1", False),
        ("1.3", "0.1 0.2 1.1 1.2 2.1a", False),  # the codec could run beside it
        ("1.3", "0.1 0.2 1.1 1.2 2.1a 3.1", True),
        ("3.2", " ".join(NAMES[:-1]), True),
    ],
)
def test_nothing_can_run_beside_a_stage_that_all_others_build_on(name, finished, expected):
    assert all_build_on(find_stage(name), progress(finished).waiting) is expected


def test_a_stage_is_shared_where_each_process_has_a_sample():
    assert [stage.name for stage in recipe("nano") if not can_be_shared(stage, "nano", 16)] == ["1.1", "3.1"]
    assert all(can_be_shared(stage, "nano", 8) for stage in recipe("nano"))
