"""A service dies in the middle of a turn: the turn goes on with another and comes out the same, or fails in words."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from cli.client import Answer, Client, Question
from protos.parley.v1 import conversation_pb2 as wire
from protos.parley.v1.language_model_pb2 import Sampling
from services.telemetry import metrics

SAMPLING = Sampling(max_tokens=80, seed=7)  # long enough to be killed in the middle
WHEN = {
    "speech_encoder": "transcript",
    "llm_core": "text",
    "speech_decoder": "audio",
}  # the first sign that a service is at work


def reconnects(service: str) -> float:
    return metrics.RECONNECTS.labels(service)._value.get()


async def turn(client: Client, samples: np.ndarray, on: str = "", then=None) -> Answer:
    """A spoken turn, in which `then` is called at the first event `on`."""
    answer = Answer()
    half = len(samples) // 2
    await client.send(audio=samples[:half].tobytes()[:32_000])
    await client.send(audio=samples[:half].tobytes()[32_000:])
    ended = False
    async for event in client.events():
        kind = event.WhichOneof("event")
        if kind == "transcript" and not ended:  # speech is being encoded: the rest of the question
            ended = True
            if on == "transcript":
                await then()
                on = ""
            for part in np.array_split(samples[half:], 3):
                await client.send(audio=part.tobytes())
            await client.send(end_of_audio=wire.EndOfAudio())
        elif kind == on:
            await then()
            on = ""
        if answer.take(event, 0.0):
            return answer
    raise AssertionError("the stream ended")


@pytest.mark.parametrize("service", ["speech_encoder", "llm_core", "speech_decoder"])
async def test_a_service_that_dies_mid_turn_costs_a_pause_and_nothing_else(
    make_gateway, connect, services, spoken_question, answering_checkpoint, service
):
    undisturbed = await turn(await connect(await make_gateway(), sampling=SAMPLING), spoken_question)
    assert undisturbed.complete and undisturbed.audio

    await asyncio.to_thread(services.start, service, "doomed", checkpoint=answering_checkpoint)
    both = f"127.0.0.1:{services.ports['doomed']},127.0.0.1:{services.ports[service]}"
    client = await connect(await make_gateway(**{f"upstream__{service}": both}), sampling=SAMPLING)
    before = reconnects(service)
    answer = await turn(client, spoken_question, WHEN[service], lambda: asyncio.to_thread(services.kill, "doomed"))
    assert reconnects(service) > before, "it died too late to be missed"
    assert answer.error is None and answer.complete
    assert answer.text == undisturbed.text and answer.transcript == undisturbed.transcript
    assert answer.audio == undisturbed.audio


async def test_an_llm_core_that_dies_while_a_picture_is_encoded_costs_a_pause(
    make_gateway, connect, services, draw, answering_checkpoint, monkeypatch
):
    await asyncio.to_thread(services.start, "llm_core", "doomed", checkpoint=answering_checkpoint)
    both = ",".join(f"127.0.0.1:{services.ports[name]}" for name in ("doomed", "llm_core"))
    gateway = await make_gateway(upstream__llm_core=both, conversation__max_turn_seconds=30)
    encode, lost = gateway.backend.releases.current.encode_images, asyncio.Event()

    async def encode_once_lost(request, timeout):
        await lost.wait()
        return await encode(request, timeout)

    monkeypatch.setattr(gateway.backend.releases.current, "encode_images", encode_once_lost)
    client = await connect(gateway, text_only=True)
    asking = asyncio.create_task(client.ask(Question(text="what is it?", images=[draw("navy")])))
    before = reconnects("llm_core")
    while not metrics.SLOTS_USED.labels("llm_core")._value.get():  # the prompt has begun and waits for the picture
        await asyncio.sleep(0.01)
    await asyncio.to_thread(services.kill, "doomed")
    while reconnects("llm_core") == before:
        await asyncio.sleep(0.01)
    lost.set()
    answer = await asking
    assert answer.complete, answer.error


async def test_a_picture_is_seen_although_a_vision_encoder_is_gone(make_gateway, connect, services, draw):
    nobody, vision = "127.0.0.1:9", f"127.0.0.1:{services.ports['vision_encoder']}"
    client = await connect(await make_gateway(upstream__vision_encoder=f"{nobody},{vision}"), text_only=True)
    assert (await client.ask(Question(text="what is it?", images=[draw("sienna")]))).complete


async def test_a_service_that_stays_away_fails_the_turn_and_not_the_conversation(
    make_gateway, connect, services, answering_checkpoint
):
    await asyncio.to_thread(services.start, "llm_core", "brief", checkpoint=answering_checkpoint)
    port = services.ports["brief"]
    gateway = await make_gateway(upstream__llm_core=f"127.0.0.1:{port}", upstream__recovery_seconds=0.6)
    client = await connect(gateway, text_only=True)
    assert (await client.ask(Question(text="hello"))).complete
    await asyncio.to_thread(services.kill, "brief")
    answer = await client.ask(Question(text="hello"))
    assert (answer.finish_reason, answer.error.code) == ("failed", "UNAVAILABLE") and answer.error.retry_after > 0
    assert "llm_core" in answer.error.message
    assert await gateway.missing() == ["llm_core"]
    await asyncio.to_thread(services.start, "llm_core", "brief", port=port, checkpoint=answering_checkpoint)
    for _ in range(10):
        answer = await client.ask(Question(text="hello"))
        if answer.complete:
            break
    assert answer.complete
    await asyncio.to_thread(services.kill, "brief")
