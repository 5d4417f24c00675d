"""What services run is asked once for all who wait, and known on while a service cannot be asked."""

from __future__ import annotations

import asyncio

import pytest

from protos.parley.v1.model_info_pb2 import ModelInfo
from services.gateway.upstream.descriptions import Descriptions


class Asked:
    """Answers with weights that count the questions, or fails; waits while `open` is not set."""

    def __init__(self) -> None:
        self.count, self.fails = 0, False
        self.open = asyncio.Event()
        self.open.set()

    async def __call__(self, service: str) -> ModelInfo:
        self.count += 1
        await self.open.wait()
        if self.fails:
            raise ConnectionError("away")
        return ModelInfo(service=service, weights=str(self.count))


async def test_one_question_for_all_who_wait():
    ask = Asked()
    ask.open.clear()
    descriptions = Descriptions(ask, max_age=60)
    waiting = [asyncio.create_task(descriptions.get("llm_core")) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()  # the others still want to know
    ask.open.set()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert [answer.weights for answer in answers[1:]] == ["1", "1"]
    assert (await descriptions.get("llm_core")).weights == "1" and ask.count == 1


async def test_services_are_asked_apart():
    descriptions = Descriptions(Asked(), max_age=60)
    for service in ("llm_core", "speech_encoder"):
        assert (await descriptions.get(service)).service == service


async def test_an_old_description_is_asked_for_again():
    descriptions = Descriptions(Asked(), max_age=0)
    await descriptions.get("llm_core")
    await asyncio.sleep(0.01)
    assert (await descriptions.get("llm_core")).weights == "2"


async def test_an_expired_description_is_asked_for_again_and_serves_where_that_fails():
    ask = Asked()
    descriptions = Descriptions(ask, max_age=60)
    await descriptions.get("llm_core")
    descriptions.expire("llm_core")
    ask.fails = True
    assert (await descriptions.get("llm_core")).weights == "1" and ask.count == 2
    assert (await descriptions.get("llm_core")).weights == "1" and ask.count == 2  # it was just asked
    descriptions.expire("llm_core")
    ask.fails = False
    assert (await descriptions.get("llm_core")).weights == "3"


async def test_a_service_that_never_answered_is_an_error_and_is_asked_again():
    ask = Asked()
    ask.fails = True
    descriptions = Descriptions(ask, max_age=60)
    for count in (1, 2):
        with pytest.raises(ConnectionError):
            await descriptions.get("llm_core")
        assert ask.count == count


async def test_closing_ends_a_question():
    ask = Asked()
    ask.open.clear()
    descriptions = Descriptions(ask, max_age=60)
    waiting = asyncio.create_task(descriptions.get("llm_core"))
    await asyncio.sleep(0)
    await descriptions.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
