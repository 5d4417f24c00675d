"""The fault test of the compose stack, without an engine: which faults there are, how answers are counted."""

import asyncio
import math
from pathlib import Path

import pytest
import yaml

from benchmarks import compose_faults, compose_stack
from benchmarks.compose_faults import FAULTS, Asked, Callers, Fault, chosen, row

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
ASKED = [Asked(0.0, 0.4), Asked(9.8, 3.0), Asked(12.0, 0.5)]  # the second was under way at the kill, at 10.0


def test_every_container_that_stays_is_killed():
    staying = {name for name, service in COMPOSE.items() if service["restart"] != "no" and "profiles" not in service}
    assert {fault.service for fault in FAULTS} == staying


def test_each_service_is_killed_with_one_and_with_two_replicas():
    twice = [fault for fault in FAULTS if fault.replicas == 2]
    assert len(twice) == 4 and chosen([], [2]) == twice
    assert [fault.replicas for fault in chosen(["llm-core"], [1, 2])] == [1, 2]


@pytest.mark.parametrize(
    ("fault", "met"), [(Fault("head", 3.0), "yes"), (Fault("head", 2.0), "no"), (Fault("head", 2.7, above=True), "yes")]
)
def test_the_worst_answer_is_one_that_ended_after_the_kill(fault, met):
    found = row(fault, ASKED, killed=10.0, healthy=5.0, kept=True)
    assert (found["before"], found["worst"], found["failed"], found["met"]) == (0.4, 3.0, 0, met)


def test_a_failed_answer_misses_the_aim_however_fast_it_came():
    found = row(Fault("head", 9.0), [*ASKED, Asked(13.0, 0.1, "gone")], killed=10.0, healthy=5.0, kept=False)
    assert (found["failed"], found["met"], found["failures"], found["session"]) == (1, "no", ["gone"], "lost")


def test_without_an_answer_nothing_is_met():
    found = row(Fault("head", 9.0), [], killed=10.0, healthy=5.0, kept=True)
    assert math.isnan(found["worst"]) and found["met"] == "no"


async def test_a_caller_waits_for_its_answer_before_it_asks_again(monkeypatch):
    monkeypatch.setattr(compose_faults, "PERIOD", 0.02)
    open_now, most = 0, 0

    async def ask(number: int) -> str:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        await asyncio.sleep(0.05)
        open_now -= 1
        return "late" if number == 1 else ""

    callers = Callers(ask)
    running = asyncio.create_task(callers.run())
    await asyncio.sleep(0.2)
    callers.stopping = True
    await running
    assert most == compose_faults.CALLERS and [one.failure for one in callers.asked].count("late") == 1
    assert all(one.seconds >= 0.05 for one in callers.asked)


def test_a_command_that_fails_says_why():
    with pytest.raises(compose_stack.ComposeError, match="no such thing"):
        compose_stack.run(["sh", "-c", "echo no such thing >&2; exit 3"])
    with pytest.raises(compose_stack.ComposeError, match="there is no `docker` here"):
        compose_stack.run(["/no/such/docker"])
