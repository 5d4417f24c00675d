"""Who is let in: bounded connections, nobody new while audio is late, and not too many at once."""

from __future__ import annotations

import asyncio
import contextlib

import grpc
import pytest

from services.gateway.access.admission import Admission
from services.gateway.access.pace import Pace
from services.gateway.settings import AdmissionSettings
from services.rpc.errors import ServiceError, status_of
from services.telemetry import metrics


@pytest.fixture
def admission():
    """Makes admissions of a gateway whose LLM core has eight slots, with some connections open."""
    with contextlib.ExitStack() as connections:

        def make(inside: int = 0, most: int = 100, slots=8, **settings) -> Admission:
            async def ask() -> int:
                if slots is None:
                    raise ServiceError(grpc.StatusCode.UNAVAILABLE, "away")
                return slots

            made = Admission(AdmissionSettings(**settings), most, ask)
            made.note()
            for _ in range(inside):
                connections.enter_context(made.connection())
            return made

        yield make


async def newcomer(admission: Admission) -> str:
    """What one is told; empty: it is in."""
    try:
        with admission.connection():
            await admission.admit()
    except ServiceError as error:
        status = status_of(error)
        assert status.code == grpc.StatusCode.RESOURCE_EXHAUSTED and status.retry_after == 5.0
        return status.message
    return ""


def spoken(*leads: float) -> None:
    """The gateway has had pieces of audio, each with so many seconds of the answer left to play."""
    for lead in leads:
        metrics.AUDIO_LEAD_SECONDS.observe(lead)


async def test_connections_are_bounded_and_counted(admission):
    made = admission(inside=2, most=3)
    assert await newcomer(made) == "" and made.connections == 2
    with made.connection():
        assert "3 connections in use" in await newcomer(made)
    assert made.connections == 2 and await newcomer(made) == ""


async def test_nobody_new_comes_in_while_audio_is_late(admission):
    made = admission(inside=3)
    spoken(*[0.5] * 8, 0.05)
    assert "do not keep real time" in await newcomer(made)
    spoken(*[0.5] * 8)
    assert await newcomer(made) == ""
    spoken(-0.3)
    assert "try again in 5 s" in await newcomer(made)


async def test_late_first_audio_counts_too(admission):
    made = admission(inside=3)
    metrics.FIRST_AUDIO_SECONDS.labels("gateway").observe(0.4)
    assert await newcomer(made) == ""
    metrics.FIRST_AUDIO_SECONDS.labels("gateway").observe(4.0)
    assert "do not keep real time" in await newcomer(made)


async def test_a_slow_machine_still_serves_a_few(admission):
    made = admission(inside=1)
    spoken(-1.0, -1.0)
    assert await newcomer(made) == ""
    off = admission(inside=3, late_share=1.0)
    spoken(-1.0, -1.0)
    assert await newcomer(off) == ""


async def test_what_was_late_long_ago_is_forgotten():
    pace = Pace(seconds=0.05)
    pace.note()
    spoken(-1.0)
    assert pace.late_share() == 1.0
    await asyncio.sleep(0.06)
    pace.note()
    await asyncio.sleep(0.06)
    pace.note()
    assert pace.late_share() == 0.0


async def test_half_of_the_slots_may_be_taken_at_once_and_more_later(admission):
    made = admission(inside=3)
    assert await newcomer(made) == ""
    full = admission(inside=4)
    assert "4 sessions were opened in the last 10 s" in await newcomer(full)
    assert await newcomer(admission(inside=4, growth=0)) == ""
    assert await newcomer(admission(inside=4, slots=64)) == ""


async def test_a_gateway_grows_by_a_share_of_what_it_had(admission):
    made = admission(inside=8, seconds=0.05)
    await asyncio.sleep(0.06)
    made.note()
    with made.connection():
        assert await newcomer(made) == ""
        with made.connection():
            assert "2 sessions were opened" in await newcomer(made)


async def test_an_llm_core_that_does_not_answer_keeps_nobody_out(admission):
    assert await newcomer(admission(inside=5, slots=None)) == ""
