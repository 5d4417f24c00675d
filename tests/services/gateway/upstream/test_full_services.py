"""A service that is full: who has been let in waits for it, and learns what it said where that takes too long."""

from __future__ import annotations

import asyncio
import time

import grpc
import pytest

from cli.client import Question
from protos.parley.v1.language_model_pb2 import Sampling
from services.gateway.upstream.calls import ConnectionLostError
from services.gateway.upstream.retries import until_done
from services.rpc.errors import ServiceError
from services.telemetry import metrics


class Full:
    """Refuses so many calls."""

    def __init__(self, times: int, error: Exception | None = None):
        self.times = times
        self.error = error or ServiceError.at_capacity("answers", 32)

    async def __call__(self) -> str:
        if self.times:
            self.times -= 1
            raise self.error
        return "answer"


async def test_a_full_service_is_asked_again():
    full, lost = Full(3), metrics.RECONNECTS.labels("speech_decoder")._value.get()
    assert await until_done("speech_decoder", full, 5.0) == "answer"
    assert full.times == 0 and metrics.RECONNECTS.labels("speech_decoder")._value.get() == lost


async def test_a_service_that_stays_full_is_not_waited_for_without_end():
    began = time.monotonic()
    with pytest.raises(ServiceError, match="32 answers in use") as caught:
        await until_done("speech_decoder", Full(1000), 0.3)
    assert caught.value.code == grpc.StatusCode.RESOURCE_EXHAUSTED and caught.value.retry_after == 1.0
    assert time.monotonic() - began >= 0.3


async def test_what_will_never_fit_is_refused_at_once():
    full = Full(2, ServiceError.too_much("the clause is too long"))
    with pytest.raises(ServiceError, match="too long"):
        await until_done("speech_decoder", full, 5.0)
    assert full.times == 1


async def test_a_service_that_was_lost_may_come_back_full():
    async def attempt() -> str:
        if not lost.is_set():
            lost.set()
            raise ConnectionLostError("gone")
        return await full()

    lost, full = asyncio.Event(), Full(1)
    assert await until_done("llm_core", attempt, 5.0) == "answer"


async def test_a_turn_waits_for_a_service_that_is_full(make_gateway, connect, services, answering_checkpoint):
    await asyncio.to_thread(services.start, "speech_decoder", "small", checkpoint=answering_checkpoint, max_answers=1)
    gateway = await make_gateway(upstream__speech_decoder=f"127.0.0.1:{services.ports['small']}")
    clients = [await connect(gateway, sampling=Sampling(max_tokens=12)) for _ in range(2)]
    refused = metrics.REFUSED.labels("speech_decoder", "answers")._value
    before = refused.get()
    answers = await asyncio.gather(*(client.ask(Question(text="hello")) for client in clients))
    assert all(answer.complete and answer.audio for answer in answers)
    assert refused.get() > before, "they were not answered at the same time"
    await asyncio.to_thread(services.kill, "small")
