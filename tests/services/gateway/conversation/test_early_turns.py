"""Hands-free questions with pauses: nothing of an answer to a part of them is heard, shown or remembered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np
import pytest

from cli.client import Client
from protos.parley.v1 import conversation_pb2 as wire
from services.telemetry import metrics

VAD = wire.TURN_DETECTION_SERVER_VAD
CHUNK = 1280  # bytes: 40 ms


def quiet(seconds: float) -> bytes:
    return np.random.default_rng(0).normal(0, 20, round(16_000 * seconds)).astype("<i2").tobytes()


async def say(client: Client, audio: bytes) -> None:
    for at in range(0, len(audio), CHUNK):
        await client.send(audio=audio[at : at + CHUNK])


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


def discarded() -> float:
    return metrics.DISCARDED_ANSWERS._value.get()


def audio_made() -> float:
    """Seconds, that the speech decoder has made."""
    return metrics.AUDIO_SECONDS.labels("speech_decoder", "out")._value.get()


async def collect(client: Client, events: list[wire.ServerEvent]) -> None:
    async for event in client.events():
        events.append(event)


@pytest.fixture
async def hands_free(make_gateway, connect):
    """A client with a microphone that is never closed, and what it is told."""
    gateway = await make_gateway()
    client, events = await connect(gateway, turn_detection=VAD), []
    listening = asyncio.create_task(collect(client, events))
    yield gateway, client, events
    listening.cancel()


def kinds(events: list[wire.ServerEvent]) -> list[str]:
    return [event.WhichOneof("event") for event in events]


async def test_who_pauses_and_goes_on_is_answered_once(hands_free, spoken_question):
    gateway, client, events = hands_free
    half, before, made = len(spoken_question) // 2, discarded(), audio_made()
    await say(client, quiet(0.5) + spoken_question[:half].tobytes() + quiet(0.3))
    await until(lambda: audio_made() > made)  # an answer is ready
    assert {"state", "text", "audio", "item_created", "speech_stopped"}.isdisjoint(kinds(events))
    assert await gateway.backend.store.items.list(client.session_id) == []
    await say(client, spoken_question[half:].tobytes() + quiet(0.3))
    await until(lambda: discarded() == before + 1)
    await say(client, quiet(1.5))
    await until(lambda: "done" in kinds(events))
    assert [kinds(events).count(kind) for kind in ("speech_started", "speech_stopped", "state", "done")] == [1, 1, 1, 1]
    audio = [event.audio for event in events if event.HasField("audio")]
    assert audio[0].offset == 0 and len({event.turn_id for event in events if event.HasField("audio")}) == 1
    items = await gateway.backend.store.items.list(client.session_id)
    assert [item.role for item in items] == ["user", "assistant"]
    done = next(event.done for event in events if event.HasField("done"))
    assert items[1].parts[0].text == done.text == "".join(e.text.text for e in events if e.HasField("text"))
    assert done.latency.first_audio >= done.latency.end_of_turn > 0


async def test_an_answer_that_is_ready_comes_with_the_end(hands_free, spoken_question):
    _, client, events = hands_free
    before, made = discarded(), audio_made()
    await say(client, quiet(0.5) + spoken_question.tobytes() + quiet(0.3))
    await until(lambda: audio_made() > made)
    await say(client, quiet(1.5))
    await until(lambda: "done" in kinds(events))
    assert discarded() == before
    latency = next(event.done.latency for event in events if event.HasField("done"))
    assert latency.first_token == pytest.approx(0, abs=1e-3) and latency.first_clause == pytest.approx(0, abs=1e-3)


async def test_who_goes_away_in_a_pause_leaves_nothing(hands_free, spoken_question, services):
    gateway, client, events = hands_free
    made = audio_made()
    await say(client, quiet(0.5) + spoken_question.tobytes() + quiet(0.3))
    await until(lambda: audio_made() > made)
    await client.send(cancel=wire.CancelTurn())
    await until(lambda: "done" in kinds(events))
    assert {"state", "text", "audio"}.isdisjoint(kinds(events))
    assert await gateway.backend.store.items.list(client.session_id) == []
