"""The clients of the soak benchmark against a real gateway: bad input is refused in words, known answers are right."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest

from benchmarks import soak_bad_input
from benchmarks.soak_bad_input import BAD_INPUTS, send_one
from benchmarks.soak_checks import ask, ask_and_cut, difference
from cli.client import Question
from protos.parley.v1 import conversation_pb2 as wire
from protos.parley.v1.language_model_pb2 import Sampling

SHORT = wire.SessionConfig(turn_detection=wire.TURN_DETECTION_MANUAL, sampling=Sampling(max_tokens=24))


@pytest.fixture
async def addresses(make_gateway):
    gateway = await make_gateway()
    return SimpleNamespace(gateway=f"127.0.0.1:{gateway.port}", http=f"127.0.0.1:{gateway.http_port}")


async def test_every_bad_input_is_refused_in_words(addresses):
    rng = random.Random(1)
    for number in range(len(BAD_INPUTS)):
        assert await send_one(addresses, rng, number) == ""


async def test_a_good_input_would_be_told(addresses, monkeypatch):
    async def fine(state, rng):
        return await soak_bad_input.realtime(state, rng, lambda rng: '{"type": "response.cancel"}') or "refused"

    monkeypatch.setattr(soak_bad_input, "BAD_INPUTS", [fine])
    assert (await send_one(addresses, random.Random(1), 0)).startswith("fine: ")


async def test_an_answer_that_is_cut_goes_on_to_the_same_words(addresses, spoken_question):
    question = Question(audio=spoken_question.tobytes(), paced=False)
    known = await ask(addresses.gateway, question, SHORT)
    assert known.complete and known.text and known.audio
    assert difference(await ask_and_cut(addresses.gateway, question, SHORT), known) == ""
