"""A service that is full: who has been let in waits for it, and learns what it said where that takes too long."""

from __future__ import annotations

import asyncio
import time

import grpc
import pytest

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
