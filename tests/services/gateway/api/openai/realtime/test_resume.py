"""A Realtime connection that is lost goes on through any gateway, to the event."""

from __future__ import annotations

import asyncio
import base64
import copy
import json
import time
from collections.abc import Callable
from urllib.parse import urlencode

import pytest
import soxr
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as websocket
from websockets.exceptions import ConnectionClosed, InvalidStatus

from cli.client import Client
from protos.parley.v1.conversation_pb2 import SessionConfig
from services.gateway.__main__ import Gateway
from services.llm_core.torch_engine import TorchEngine
from services.telemetry import metrics

NOT_OF_THE_STREAM = ("session.created", "input_audio_buffer.cleared")  # of the connection that goes on
SESSION = {
    "type": "realtime",
    "max_output_tokens": 40,
    "audio": {"input": {"turn_detection": None, "transcription": {"model": "whisper-1"}}},
}

Events = list[dict]


@pytest.fixture
def slow_answers(monkeypatch):
    """So that a connection can be lost within one."""
    step = TorchEngine.step

    def slow_step(self) -> bool:
        time.sleep(0.02)
        return step(self)

    monkeypatch.setattr(TorchEngine, "step", slow_step)


@pytest.fixture
def spoken_24k(spoken_question) -> bytes:
    """24 kHz, 16-bit."""
    return soxr.resample(spoken_question / 32768, 16_000, 24_000).clip(-1, 1).__mul__(32767).astype("<i2").tobytes()


def connect(url: str) -> websocket:
    """What is not read does not keep it from closing."""
    return websocket(url, max_size=None, max_queue=None)


def address(gateway: Gateway, **query: str) -> str:
    return f"ws://127.0.0.1:{gateway.http_port}/v1/realtime?{urlencode(query)}"


async def send(socket: ClientConnection, type: str, **fields) -> None:
    await socket.send(json.dumps({"type": type, **fields}))


async def until(socket: ClientConnection, last: Callable[[dict], bool]) -> Events:
    came: Events = []
    while not came or not last(came[-1]):
        came.append(json.loads(await asyncio.wait_for(socket.recv(), 20)))
        assert came[-1]["type"] != "error", came[-1]
    return came


def done(event: dict) -> bool:
    return event["type"] == "response.done"


async def ask(socket: ClientConnection, audio: bytes, **session) -> None:
    """Aloud, with a written message before it."""
    await send(socket, "session.update", session=SESSION | session)
    content = [{"type": "input_text", "text": "listen"}]
    await send(socket, "conversation.item.create", item={"type": "message", "role": "user", "content": content})
    for start in range(0, len(audio), 9600):
        chunk = base64.b64encode(audio[start : start + 9600]).decode()
        await send(socket, "input_audio_buffer.append", audio=chunk)
    await send(socket, "input_audio_buffer.commit")
    await send(socket, "response.create", response={"metadata": {"mine": "1"}})


async def resumed(gateway: Gateway, session_id: str, after: str, last: Callable[[dict], bool] = done) -> Events:
    """All that comes of the stream up to the last event."""
    query = {"parley_session_id": session_id, "parley_last_event_id": after}
    async with connect(address(gateway, **query)) as socket:
        came = await until(socket, last)
    assert (came[0]["type"], came[0]["event_id"]) == ("session.created", after)
    assert came[0]["session"]["id"] == session_id
    return [event for event in came if event["type"] not in NOT_OF_THE_STREAM]


def said(events: Events) -> tuple[str, bytes]:
    """Text and audio."""
    deltas = [event for event in events if event["type"].endswith(".delta")]
    text = "".join(event["delta"] for event in deltas if "transcript" in event["type"] and "response" in event["type"])
    audio = (event["delta"] for event in deltas if event["type"] == "response.output_audio.delta")
    return text, b"".join(map(base64.b64decode, audio))


async def test_an_answer_goes_on_through_another_gateway(make_gateway, slow_answers, spoken_24k):
    here, there = await make_gateway(), await make_gateway()
    async with connect(address(here)) as socket:
        await ask(socket, spoken_24k)
        whole = await until(socket, done)
    assert len(said(whole)[1]) > 48_000
    async with connect(address(here, parley_session_id="")) as socket:
        await ask(socket, spoken_24k)
        came = await until(socket, lambda event: event["type"] == "response.output_audio.delta")
    while not done(came[-1]):  # lost every few events
        seen = 0

        def enough(event: dict) -> bool:
            nonlocal seen
            seen += event["type"].startswith("response.")
            return seen > 9 or done(event)

        gateways = (there, here)
        came += await resumed(gateways[len(came) % 2], came[0]["session"]["id"], came[-1]["event_id"], enough)
    assert said(came) == said(whole)
    kinds = [[event["type"] for event in each if "delta" not in event["type"]] for each in (came, whole)]
    assert kinds[0] == kinds[1]
    ids = [event["event_id"] for event in came]
    assert len(set(ids)) == len(ids)
    (message,) = came[-1]["response"]["output"]
    assert message["content"][0]["transcript"] == said(whole)[0]
    assert came[-1]["response"]["metadata"] == {"mine": "1"}
    transcripts = [event for event in came if event["type"] == "response.output_audio_transcript.done"]
    assert [event["transcript"] for event in transcripts] == [said(whole)[0]]


def lasting(events: Events) -> Events:
    """Without what is of the connection: when it expires."""
    events = copy.deepcopy(events)
    for event in events:
        event.get("session", {}).pop("expires_at", None)
    return events


async def test_from_every_event_on_the_rest_is_the_same(make_gateway, spoken_24k):
    here, there = [await make_gateway(store__resume_seconds=300) for _ in range(2)]
    async with connect(address(here, parley_session_id="")) as socket:
        await ask(socket, spoken_24k, max_output_tokens=4)
        came = await until(socket, done)
    session_id = came[0]["session"]["id"]
    pieces = [event for event in came if event["event_id"].rpartition("_")[2] != "0"]
    assert len(pieces) > 8  # server events that are not the last of one event of the conversation
    for position, event in enumerate(came[:-1]):
        rest = lasting(came[position + 1 :])
        assert lasting(await resumed(there, session_id, event["event_id"])) == rest, event


async def test_a_session_is_opened_again_without_a_resume(make_gateway):
    here, there = await make_gateway(), await make_gateway()
    async with connect(address(here, parley_session_id="")) as socket:
        session_id = json.loads(await socket.recv())["session"]["id"]
        await send(socket, "session.update", session=SESSION | {"instructions": "be brief"})
        content = [{"type": "input_text", "text": "listen"}]
        await send(socket, "conversation.item.create", item={"type": "message", "role": "user", "content": content})
        first = await until(socket, lambda event: event["type"] == "conversation.item.done")
    async with connect(address(there, parley_session_id=session_id)) as socket:
        created = json.loads(await socket.recv())
        assert created["session"]["id"] == session_id and created["session"]["instructions"] == "be brief"
        await send(socket, "response.create")
        came = await until(socket, done)
    added = next(event for event in came if event["type"] == "conversation.item.added")
    assert added["previous_item_id"] == first[-1]["item"]["id"]


async def test_a_question_that_was_being_spoken_is_gone(make_gateway, spoken_24k):
    gateway = await make_gateway()
    async with connect(address(gateway, parley_session_id="")) as socket:
        await send(socket, "session.update", session=SESSION)
        came = await until(socket, lambda event: event["type"] == "session.updated")
        audio = base64.b64encode(spoken_24k[:24_000]).decode()
        await send(socket, "input_audio_buffer.append", audio=audio)
        await asyncio.sleep(0.2)
    query = {"parley_session_id": came[0]["session"]["id"], "parley_last_event_id": came[-1]["event_id"]}
    async with connect(address(gateway, **query)) as socket:
        await until(socket, lambda event: event["type"] == "input_audio_buffer.cleared")
        await ask(socket, spoken_24k, max_output_tokens=4)
        came = await until(socket, done)
    assert came[-1]["response"]["status"] == "incomplete" and said(came)[1]


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ({"parley_session_id": "x", "parley_last_event_id": "41"}, "event_41_0"),
        ({"parley_last_event_id": "event_41_0"}, "send its id as parley_session_id"),
    ],
)
async def test_an_address_that_names_no_place_is_refused(make_gateway, query, complaint):
    with pytest.raises(InvalidStatus) as caught:
        async with connect(address(await make_gateway(), **query)):
            pass
    assert caught.value.response.status_code == 400
    assert complaint in json.loads(caught.value.response.body)["error"]["message"]


async def test_a_session_that_cannot_go_on_is_told_and_closed(make_gateway):
    gateway = await make_gateway()
    async with Client(f"127.0.0.1:{gateway.port}") as other:
        session_id = (await other.open(SessionConfig())).session_id
    for query in (
        {"parley_session_id": "unknown"},
        {"parley_session_id": session_id},
        {"parley_session_id": session_id, "parley_last_event_id": "event_900_0"},
    ):
        async with connect(address(gateway, **query)) as socket:
            event = json.loads(await asyncio.wait_for(socket.recv(), 10))
            assert (event["type"], event["error"]["code"]) == ("error", "session_not_resumable")
            with pytest.raises(ConnectionClosed) as caught:
                await asyncio.wait_for(socket.recv(), 10)
            assert caught.value.rcvd.code == 4404


async def test_the_older_of_two_connections_is_closed(make_gateway):
    here, there = await make_gateway(), await make_gateway()
    async with connect(address(here, parley_session_id="")) as old:
        created = json.loads(await old.recv())
        query = {"parley_session_id": created["session"]["id"], "parley_last_event_id": created["event_id"]}
        async with connect(address(there, **query)) as new:
            await until(new, lambda event: event["type"] == "input_audio_buffer.cleared")
            await send(old, "session.update", session=SESSION)
            event = json.loads(await asyncio.wait_for(old.recv(), 10))
            assert (event["type"], event["error"]["code"], event["event_id"]) == ("error", "conflict", "event_1_0")
            with pytest.raises(ConnectionClosed) as caught:
                await asyncio.wait_for(old.recv(), 10)
            assert caught.value.rcvd.code == 4409
            await send(new, "session.update", session=SESSION)
            await until(new, lambda event: event["type"] == "session.updated")


async def test_while_audio_is_late_a_session_can_be_gone_on_with_and_none_begun(make_gateway):
    gateway = await make_gateway(admission__late_share=0.1, admission__always=0)
    async with connect(address(gateway, model="parley", parley_session_id="")) as socket:
        created = json.loads(await socket.recv())
    for _ in range(50):
        metrics.LATE_ANSWERS.inc()
    with pytest.raises(InvalidStatus) as caught:
        await connect(address(gateway, model="parley"))
    assert caught.value.response.status_code == 429 and caught.value.response.headers["retry-after"] == "4"
    resumed = address(gateway, parley_session_id=created["session"]["id"], parley_last_event_id=created["event_id"])
    async with connect(resumed) as socket:
        assert json.loads(await socket.recv())["session"]["id"] == created["session"]["id"]
