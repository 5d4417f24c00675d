"""The kill matrix without a stack: which rows there are, and what counts as a lost turn."""

import signal
import subprocess

import psutil
import pytest

from benchmarks.kill_matrix import ROWS, summary
from benchmarks.kill_try import Row, Try, Victim, compared
from benchmarks.resume import Run
from cli.answer import Answer
from protos.parley.v1 import conversation_pb2 as wire
from services.registry import SERVICES

LATER = Row("gateway", "services.gateway", later=5.0)


def test_each_service_is_killed_and_hangs_with_one_and_with_two_replicas():
    for name in SERVICES:
        found = [(row.signal, row.replicas) for row in ROWS if row.process == name]
        assert set(found) == {(kind, count) for kind in (signal.SIGKILL, signal.SIGSTOP) for count in (1, 2)}
    assert len({row.name for row in ROWS}) == len(ROWS)


def answered(**fields) -> Run:
    fields = {"text": "a red square", "audio": b"12", "finish_reason": "stop", "total": 2.0} | fields
    return Run(Answer(sample_rate=1, **fields), came=[], asked=0.0)


@pytest.mark.parametrize(
    ("fields", "failure"),
    [
        ({}, ""),
        ({"text": "a blue square"}, "another text"),
        ({"audio": b"1"}, "1 bytes of audio, undisturbed: 2 others"),
        ({"finish_reason": "cancelled"}, "ended: cancelled"),
        ({"error": wire.ErrorEvent(code="UNAVAILABLE", message="no")}, "UNAVAILABLE: no"),
    ],
)
def test_an_answer_that_is_not_the_undisturbed_one_is_lost(fields, failure):
    found = compared(Try("speaking", recovery=1.0), answered(total=2.5, **fields), answered())
    assert found.failure.startswith(failure) and bool(found.failure) == bool(failure)
    assert (found.later, found.dry, found.recovery) == (0.5, 0.0, 1.0)


def test_a_turn_may_be_lost_where_all_services_start_anew():
    row = Row("raylet", "raylet", may_lose=True, noticed=5.0)
    found = summary(row, [Try("thinking", "UNAVAILABLE: no", noticed=1.0)])
    assert (found["met"], found["lost"], found["aim"]) == ("yes", 1, "noticed 5")


@pytest.mark.parametrize(
    ("tries", "met"),
    [
        ([Try("listening", later=1.0), Try("thinking", later=4.9)], "yes"),
        ([Try("listening", later=1.0), Try("thinking", later=5.1)], "no"),
        ([Try("listening", later=1.0), Try("thinking", "UNAVAILABLE: no", later=1.0)], "no"),
        ([Try("listening", later=1.0), Try("thinking")], "no"),  # nothing was measured
    ],
)
def test_a_row_is_met_where_no_turn_is_lost_and_the_worst_is_within_its_aim(tries, met):
    row = summary(LATER, tries)
    assert (row["met"], row["tries"], row["aim"]) == (met, 2, "0 lost, later 5")
    assert row["lost"] == len(row["failures"])


def test_the_busiest_process_is_lost_and_only_once():
    idle = subprocess.Popen(["sleep", "60"])
    busy = subprocess.Popen(["sh", "-c", "while :; do :; done"])
    try:
        victim = Victim([psutil.Process(idle.pid), psutil.Process(busy.pid)], signal.SIGKILL)
        while psutil.Process(busy.pid).cpu_times().user < 0.05:
            pass
        victim.strike()
        victim.strike()
        assert busy.wait(10) == -signal.SIGKILL and idle.poll() is None and victim.gone
    finally:
        for process in (idle, busy):
            process.kill()
            process.wait()


def test_a_process_that_was_lost_and_reaped_may_be_ended():
    process = subprocess.Popen(["sleep", "60"])
    victim = Victim([psutil.Process(process.pid)], signal.SIGKILL)
    victim.strike()
    process.wait(10)
    victim.end()
    assert victim.gone
