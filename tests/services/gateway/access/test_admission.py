"""Who is let in: bounded connections, nobody new while the load is above its limits, and not too many at once."""

from __future__ import annotations

import asyncio
import contextlib

import grpc
import pytest

from protos.parley.v1.model_info_pb2 import Load, ModelInfo
from services.gateway.access import service_load
from services.gateway.access.admission import Admission
from services.gateway.access.pace import Pace
from services.gateway.settings import AdmissionSettings
from services.rpc.errors import ServiceError, status_of
from services.telemetry import metrics


class Described:
    """What the services say; `away` do not answer."""

    def __init__(self, slots: int = 8, away: tuple[str, ...] = ()):
        self.slots, self.away, self.asked = slots, away, 0
        self.loads: dict[str, Load] = {}

    async def __call__(self, service: str) -> ModelInfo:
        self.asked += 1
        if service in self.away:
            raise ServiceError(grpc.StatusCode.UNAVAILABLE, "away")
        return ModelInfo(slots=self.slots if service == "llm_core" else 0, load=self.loads.get(service, Load()))


@pytest.fixture
async def admission():
    """Makes admissions of a gateway whose LLM core has eight slots, with connections that are open for long."""
    with contextlib.ExitStack() as connections:

        async def make(inside: int = 0, most: int = 100, described: Described | None = None, **settings) -> Admission:
            made = Admission(AdmissionSettings(**settings), most, described or Described())
            for _ in range(inside):
                connections.enter_context(made.connection())
            await made.note()
            return made

        yield make


async def newcomer(admission: Admission) -> str:
    """What one is told; empty: it is in."""
    try:
        with admission.connection():
            admission.admit()
    except ServiceError as error:
        status = status_of(error)
        assert status.code == grpc.StatusCode.RESOURCE_EXHAUSTED and status.retry_after == 4.0
        return status.message
    return ""


def answered(*late: bool) -> None:
    """The gateway has given so many answers."""
    for each in late:
        metrics.FIRST_AUDIO_SECONDS.labels("gateway").observe(0.4)
        metrics.LATE_ANSWERS.inc(each)


async def test_connections_are_bounded_and_counted(admission):
    made = await admission(inside=2, most=3)
    assert await newcomer(made) == "" and made.connections == 2
    with made.connection():
        assert "3 connections in use" in await newcomer(made)
    assert made.connections == 2 and await newcomer(made) == ""


async def test_nobody_new_comes_in_while_answers_are_late(admission):
    made = await admission(inside=3)
    answered(True, True)
    assert "do not keep real time" in await newcomer(made)
    answered(*[False] * 78)  # 2 of 80: a quarter of what is allowed, and of 3 there may be 4
    assert await newcomer(made) == ""
    answered(*[True] * 9)
    assert "try again in 4 s" in await newcomer(made)


async def test_one_late_answer_of_a_few_says_little(admission):
    made = await admission(inside=1)
    answered(*[False] * 3, True)
    assert made._pace.late_share() == 0.1
    with made.connection(), made.connection():
        assert "room for no more" in await newcomer(made)
    assert await newcomer(made) == ""


async def test_answers_may_be_late_that_began_before(admission):
    made = await admission(inside=3)
    metrics.LATE_ANSWERS.inc(12)
    assert made._pace.late_share() == 1.0
    assert "do not keep real time" in await newcomer(made)


async def test_a_slow_machine_still_serves_a_few(admission):
    made = await admission(inside=1)
    answered(True, True)
    assert await newcomer(made) == ""
    off = await admission(inside=3, late_share=1.0)
    answered(True, True)
    assert await newcomer(off) == ""


async def test_what_was_late_long_ago_is_forgotten():
    pace = Pace(seconds=0.05)
    pace.note()
    answered(*[True] * 10)
    assert pace.late_share() == 1.0
    await asyncio.sleep(0.06)
    pace.note()
    await asyncio.sleep(0.06)
    pace.note()
    assert pace.late_share() == 0.0


async def test_nobody_new_comes_in_while_a_service_does_not_keep_up_with_speech(admission):
    described = Described()
    made = await admission(inside=3, described=described, lesson_seconds=0)
    described.loads = {"speech_decoder": Load(real_time_factor=0.4), "llm_core": Load(real_time_factor=0.1)}
    await made.note()
    assert await newcomer(made) == ""
    described.loads["speech_decoder"] = Load(real_time_factor=0.9)
    assert await newcomer(made) == "", "it is asked about every second, and not by who comes"
    await made.note()
    assert "the speech_decoder service takes 0.90 s for each second of speech; try again in 4 s" in await newcomer(made)
    with pytest.raises(ServiceError, match="speech_decoder"):
        made.check_load()
    described.loads.clear()
    await made.note()
    assert await newcomer(made) == ""
    made.check_load()


async def test_nobody_new_comes_in_while_work_waits(admission):
    described = Described()
    described.loads = {"llm_core": Load(queue_seconds=0.6)}
    made = await admission(inside=3, described=described)
    refused = metrics.REFUSED.labels("gateway", "queue")._value.get()
    assert "work waits 0.60 s for the llm_core service" in await newcomer(made)
    assert metrics.REFUSED.labels("gateway", "queue")._value.get() == refused + 1
    off = await admission(inside=3, described=described, queue_seconds=0)
    assert await newcomer(off) == ""


async def test_a_quarter_of_the_slots_may_be_taken_at_once_and_more_later(admission):
    made = await admission(described=Described(slots=16))
    with contextlib.ExitStack() as connections:
        for _ in range(4):
            assert await newcomer(made) == ""
            connections.enter_context(made.connection())
        assert "4 sessions are open, and the load leaves room for no more" in await newcomer(made)
        off = await admission(inside=4, growth=0)
        assert await newcomer(off) == ""


async def test_a_gateway_grows_by_a_share_of_what_it_had(admission):
    made = await admission(inside=8, growth=1.0)
    with contextlib.ExitStack() as connections:
        for _ in range(8):
            assert await newcomer(made) == ""
            connections.enter_context(made.connection())
        assert "16 sessions are open" in await newcomer(made)


async def test_it_grows_by_less_the_nearer_the_load_is_to_its_limit(admission):
    described = Described()
    described.loads = {"speech_encoder": Load(real_time_factor=0.6)}
    made = await admission(inside=8, described=described, growth=1.0)  # a quarter of 0.8 is left
    with contextlib.ExitStack() as connections:
        for _ in range(2):
            assert await newcomer(made) == ""
            connections.enter_context(made.connection())
        assert "10 sessions are open" in await newcomer(made)


async def test_services_that_do_not_answer_keep_nobody_out_and_are_not_waited_for(admission, monkeypatch):
    monkeypatch.setattr(service_load, "ANSWER_SECONDS", 0.05)

    async def never(service: str) -> ModelInfo:
        await asyncio.sleep(60)

    assert await newcomer(await admission(inside=3, described=never)) == ""


async def test_a_service_that_is_too_busy_to_answer_counts_as_it_was(admission):
    described = Described()
    described.loads = {"llm_core": Load(queue_seconds=9.0)}
    made = await admission(inside=3, described=described)
    described.away = ("llm_core",)
    await made.note()
    assert "work waits 9.00 s for the llm_core service" in await newcomer(made)


async def test_services_are_asked_while_somebody_is_served(admission):
    described = Described()
    made = await admission(described=described)
    assert described.asked == 0
    with made.connection():
        await made.note()
        assert described.asked == 4


async def test_so_many_as_were_too_many_are_not_let_in_again_for_a_while(admission):
    described = Described()
    made = await admission(inside=3, described=described, lesson_seconds=0.5, growth=0)
    with made.connection(), made.connection():
        await made.note()
        described.loads = {"llm_core": Load(real_time_factor=1.5)}
        await made.note()  # asks
        await made.note()  # learns that 5 are too many
        described.loads.clear()
        await made.note()
        assert "5 sessions are open, and 5 were too many" in await newcomer(made)
    with made.connection():
        assert "4 sessions are open, and 5 were too many" in await newcomer(made)
    assert await newcomer(made) == "", "4 are as many as may be tried"
    with made.connection():
        await asyncio.sleep(0.6)
        assert await newcomer(made) == ""


async def test_who_is_refused_is_not_among_those_who_were_too_many(admission):
    described = Described()
    made = await admission(inside=3, described=described)
    described.loads = {"llm_core": Load(real_time_factor=1.5)}
    await made.note()
    with made.connection():  # is being refused
        await made.note()
    described.loads.clear()
    await made.note()
    assert "3 sessions are open, and 3 were too many" in await newcomer(made)
