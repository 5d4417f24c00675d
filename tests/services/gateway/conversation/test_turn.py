"""Turns through the gateway and the real services: spoken, written, about a picture, remembered, silent."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from cli.client import Question
from protos.parley.v1 import conversation_pb2 as wire
from protos.parley.v1.usage_pb2 import FinishReason
from services.gateway.settings import UpstreamSettings
from services.gateway.upstream.connections import Connections
from services.gateway.upstream.services import Services
from services.registry import SERVICES

VIDEO = Path(__file__).parents[4] / "examples" / "moving.mp4"


def spoken(samples: np.ndarray, **more) -> Question:
    return Question(audio=samples.tobytes(), paced=False, **more)


async def test_a_spoken_question_about_a_picture_is_answered_aloud(make_gateway, connect, spoken_question, picture):
    client = await connect(await make_gateway())
    events = []
    answer = await client.ask(spoken(spoken_question, images=[picture]), events.append)
    kinds = list(dict.fromkeys(event.WhichOneof("event") for event in events))
    assert [kind for kind in kinds if kind != "transcript"] == [
        "speech_started", "speech_stopped", "state", "text", "audio", "item_created", "done",
    ]  # fmt: skip
    assert answer.error is None and answer.complete and answer.state == "speech"
    assert answer.audio and answer.sample_rate == 24_000 and answer.text and answer.kept == answer.text
    offsets = [(event.audio.offset, len(event.audio.audio) // 2) for event in events if event.HasField("audio")]
    assert [offset for offset, _ in offsets] == [sum(n for _, n in offsets[:i]) for i in range(len(offsets))]
    assert {event.turn_id for event in events} == {answer.turn_id}
    latency = answer.latency
    parts = latency.speech_encoder + latency.first_token + latency.first_clause + latency.speech_decoder
    assert parts == pytest.approx(latency.first_audio, abs=1e-6) and latency.vision_encoder > 0
    assert latency.total >= latency.first_audio > 0


async def test_a_written_question_is_answered_in_writing(make_gateway, connect):
    client = await connect(await make_gateway(), text_only=True)
    answer = await client.ask(Question(text="hello"))
    assert answer.complete and answer.text and not answer.audio


@pytest.mark.parametrize("rate", [24_000, 48_000])
async def test_other_rates_are_heard(make_gateway, connect, spoken_question, rate):
    client = await connect(await make_gateway(), input_sample_rate=rate)
    stretched = np.repeat(spoken_question, rate // 8_000)[::2]
    answer = await client.ask(Question(audio=stretched.tobytes(), sample_rate=rate, paced=False))
    assert answer.complete and answer.audio


async def test_a_second_turn_through_another_gateway_knows_the_first(make_gateway, connect, spoken_question, picture):
    here, there = await make_gateway(), await make_gateway()
    first = spoken(spoken_question)
    one = await connect(here)
    assert (await one.ask(first)).complete
    elsewhere = await connect(there, session_id=one.session_id)
    across = await elsewhere.ask(Question(text="and what else?"))

    alone = await connect(here)
    await alone.ask(first)
    same = await alone.ask(Question(text="and what else?"))
    fresh = await (await connect(here)).ask(Question(text="and what else?"))
    assert across.text == same.text  # as if it had stayed
    assert across.text != fresh.text  # which knew nothing of it


async def test_the_session_says_what_it_holds(make_gateway, connect):
    gateway = await make_gateway()
    client = await connect(gateway)
    assert not client.ready.resumed and client.ready.items == 0 and client.ready.output_sample_rate == 24_000
    await client.ask(Question(text="hello"))
    ready = (await connect(gateway, session_id=client.session_id)).ready
    assert ready.resumed and ready.items == 2 and ready.session_id == client.session_id


@pytest.mark.parametrize("kind", ["video", "camera frames"])
async def test_moving_pictures_are_seen(make_gateway, connect, picture, kind):
    gateway = await make_gateway()
    plain = await (await connect(gateway, text_only=True)).ask(Question(text="what is it?"))
    client = await connect(gateway, text_only=True)
    if kind == "video":
        await client.send(video=VIDEO.read_bytes())
    else:
        for _ in range(6):
            await client.send(frame=picture)
    seen = await client.ask(Question(text="what is it?"))
    assert seen.complete and plain.complete and seen.text != plain.text
    assert seen.latency.vision_encoder > 0


async def test_nothing_to_answer_stays_silent_and_leaves_no_trace(make_gateway, connect, services, spoken_question):
    gateway = await make_gateway(upstream__llm_core=f"127.0.0.1:{services.ports['silent']}")
    client = await connect(gateway)
    answer = await client.ask(spoken(spoken_question))
    assert (answer.finish_reason, answer.state, answer.text, answer.audio) == ("nothing", "nothing", "", b"")
    assert await gateway.backend.store.items.list(client.session_id) == []


async def test_a_picture_that_comes_while_the_user_speaks_counts(make_gateway, connect, spoken_question, picture):
    gateway = await make_gateway()
    before = await (await connect(gateway)).ask(spoken(spoken_question, images=[picture]))
    client = await connect(gateway)
    audio = spoken_question.tobytes()
    for at in range(0, len(audio), 4000):
        await client.send(audio=audio[at : at + 4000])
        if at == 40_000:
            await asyncio.sleep(0.3)  # speech is in the prompt by now
            await client.send(image=picture)
    during = await client.ask(Question())  # respond ends the question
    assert during.complete and during.text == before.text


async def test_the_server_hears_where_a_question_ends(make_gateway, connect, spoken_question):
    client = await connect(await make_gateway(), turn_detection=wire.TURN_DETECTION_SERVER_VAD)
    quiet = np.random.default_rng(0).normal(0, 20, 20_000).astype("<i2").tobytes()
    audio = quiet + spoken_question.tobytes() + quiet
    for at in range(0, len(audio), 3200):
        await client.send(audio=audio[at : at + 3200])
    events = []
    async for event in client.events():
        events.append(event.WhichOneof("event"))
        if events[-1] == "done":
            assert event.done.finish_reason == FinishReason.FINISH_REASON_LENGTH
            break
    assert events[0] == "speech_started" and "speech_stopped" in events and "audio" in events


@pytest.mark.parametrize("kind", ["spoken", "written"])
async def test_a_turn_whose_release_has_gone_starts_again_on_the_current_one(
    make_gateway, connect, spoken_question, kind
):
    gateway = await make_gateway()
    releases = gateway.backend.releases
    await gateway.backend._watch.stop()  # the test says which release is current
    nowhere = UpstreamSettings(addresses="127.0.0.1:9", recovery_seconds=1.0)
    connections = Connections(nowhere)
    gone = Services(nowhere, "b", connections)
    gone._descriptions._known = {name: await releases.current.describe(name) for name in SERVICES}
    releases._services["b"] = gone
    client = await connect(gateway)
    releases.use("b")
    question = Question(text="hello") if kind == "written" else spoken(spoken_question)
    asking = asyncio.create_task(client.ask(question))
    while not releases.report().turns["b"]:
        await asyncio.sleep(0.01)
    releases.use("a")
    answer = await asking
    assert answer.error is None and answer.complete and answer.audio
    assert releases.report().turns == {"a": 0, "b": 0}
    await gone.close()
    await connections.close()
