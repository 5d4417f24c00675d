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
WHEN = {"speech": "heard", "language": "text", "voice": "audio"}  # the first sign that a service is at work


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
        if kind == "heard" and not ended:  # speech is being encoded: the rest of the question
            ended = True
            if on == "heard":
                await then()
                on = ""
            for part in np.array_split(samples[half:], 3):
                await client.send(audio=part.tobytes())
            await client.send(end_of_audio=wire.EndOfAudio())
        elif kind == on:
            await then()
            on = ""
        if Client.take(answer, event, 0.0):
            return answer
    raise AssertionError("the stream ended")


@pytest.mark.parametrize("application", ["speech", "language", "voice"])
async def test_a_service_that_dies_mid_turn_costs_a_pause_and_nothing_else(
    make_gateway, connect, services, spoken_question, answering_checkpoint, application
):
    undisturbed = await turn(await connect(await make_gateway(), sampling=SAMPLING), spoken_question)
    assert undisturbed.reason == "complete" and undisturbed.audio

    await asyncio.to_thread(services.start, application, "doomed", checkpoint=answering_checkpoint)
    both = f"127.0.0.1:{services.ports['doomed']},127.0.0.1:{services.ports[application]}"
    client = await connect(await make_gateway(**{application: both}), sampling=SAMPLING)
    before = reconnects(application)
    answer = await turn(client, spoken_question, WHEN[application], lambda: asyncio.to_thread(services.kill, "doomed"))
    assert reconnects(application) > before, "it died too late to be missed"
    assert answer.error is None and answer.reason == "complete"
    assert answer.text == undisturbed.text and answer.heard == undisturbed.heard
    assert answer.audio == undisturbed.audio


async def test_an_llm_core_that_dies_while_a_picture_is_encoded_costs_a_pause(
    make_gateway, connect, services, draw, answering_checkpoint, monkeypatch
):
    await asyncio.to_thread(services.start, "language", "doomed", checkpoint=answering_checkpoint)
    both = ",".join(f"127.0.0.1:{services.ports[name]}" for name in ("doomed", "language"))
    gateway = await make_gateway(language=both, turn_seconds=30)
    encode, lost = gateway.service.upstream.encode, asyncio.Event()

    async def encode_once_lost(request, timeout):
        await lost.wait()
        return await encode(request, timeout)

    monkeypatch.setattr(gateway.service.upstream, "encode", encode_once_lost)
    client = await connect(gateway, text_only=True)
    asking = asyncio.create_task(client.ask(Question(text="what is it?", images=[draw("navy")])))
    before = reconnects("language")
    while not metrics.SESSIONS.labels("llm_core")._value.get():  # the prompt has begun and waits for the picture
        await asyncio.sleep(0.01)
    await asyncio.to_thread(services.kill, "doomed")
    while reconnects("language") == before:
        await asyncio.sleep(0.01)
    lost.set()
    answer = await asking
    assert answer.reason == "complete", answer.error


async def test_a_picture_is_seen_although_a_vision_encoder_is_gone(make_gateway, connect, services, draw):
    nobody, vision = "127.0.0.1:9", f"127.0.0.1:{services.ports['vision']}"
    client = await connect(await make_gateway(vision=f"{nobody},{vision}"), text_only=True)
    assert (await client.ask(Question(text="what is it?", images=[draw("teal")]))).reason == "complete"


async def test_a_service_that_stays_away_fails_the_turn_and_not_the_conversation(
    make_gateway, connect, services, answering_checkpoint
):
    await asyncio.to_thread(services.start, "language", "brief", checkpoint=answering_checkpoint)
    port = services.ports["brief"]
    gateway = await make_gateway(language=f"127.0.0.1:{port}", recovery_seconds=0.6)
    client = await connect(gateway, text_only=True)
    assert (await client.ask(Question(text="hello"))).reason == "complete"
    await asyncio.to_thread(services.kill, "brief")
    answer = await client.ask(Question(text="hello"))
    assert (answer.reason, answer.error.code) == ("failed", "UNAVAILABLE") and answer.error.retry_after > 0
    assert "language" in answer.error.message
    assert await gateway.service.missing() == ["language"]
    await asyncio.to_thread(services.start, "language", "brief", port=port, checkpoint=answering_checkpoint)
    for _ in range(10):
        answer = await client.ask(Question(text="hello"))
        if answer.reason == "complete":
            break
    assert answer.reason == "complete"
    await asyncio.to_thread(services.kill, "brief")


async def test_health_pages_tell_what_is_missing(make_gateway):
    import httpx

    gateway = await make_gateway()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{gateway.http_port}") as http:
        assert (await http.get("/healthz")).json() == {"status": "ok"}
        ready = await http.get("/readyz")
        assert (ready.status_code, ready.json()) == (200, {"status": "ready", "missing": []})
        assert "parley_turns_total" in (await http.get("/metrics")).text
    lame = await make_gateway(voice="127.0.0.1:9")
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{lame.http_port}") as http:
        page = await http.get("/readyz")
        assert (page.status_code, page.json()["missing"]) == (503, ["voice"])


async def test_what_hangs_is_missing_before_long(make_gateway):
    async def hang(reader, writer):
        await reader.read()
        writer.close()

    dumb = await asyncio.start_server(hang, "127.0.0.1")  # accepts, and says nothing
    address = f"127.0.0.1:{dumb.sockets[0].getsockname()[1]}"
    hanging = ",".join([address] * 40)
    gateway = await make_gateway(vision=hanging, speech=hanging, redis_url=f"redis://{address}", probe_seconds=0.5)
    async with asyncio.timeout(20):  # one after the other they would take 40
        assert await gateway.service.missing() == ["vision", "speech", "redis"]
    dumb.close()
