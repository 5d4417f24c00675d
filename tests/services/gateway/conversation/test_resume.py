"""A lost connection is resumed through any gateway: nothing is missed, and the answer goes on to the sample."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from redis.asyncio import Redis

from cli.client import Answer, Client, Question
from protos.parley.v1 import conversation_pb2 as wire
from protos.parley.v1.language_model_pb2 import Sampling
from protos.parley.v1.usage_pb2 import FinishReason
from services.gateway.__main__ import Gateway
from services.gateway.conversation import interruption
from services.gateway.store.keys import key
from services.llm_core.torch_engine import TorchEngine
from services.registry import SERVICES

ROOT = Path(__file__).parents[4]
TOKENS = 60
SAMPLED = Sampling(max_tokens=TOKENS, temperature=0.8, seed=7)


@pytest.fixture
def slow_answers(monkeypatch):
    """An answer takes a second or more, so that a connection can be lost within it."""
    step = TorchEngine.step

    def slow_step(self) -> bool:
        time.sleep(0.02)
        return step(self)

    monkeypatch.setattr(TorchEngine, "step", slow_step)


@pytest.fixture
def beginnings(monkeypatch) -> list[tuple[int, ...]]:
    """Tokens that the LLM core was given to go on behind, of all requests."""
    seen, open_request = [], TorchEngine.open

    def watched(self, *arguments):
        seen.append(arguments[-1])
        return open_request(self, *arguments)

    monkeypatch.setattr(TorchEngine, "open", watched)
    return seen


@dataclass
class Heard:
    """What came of one question, over all connections."""

    events: list[wire.ServerEvent] = field(default_factory=list)

    def add(self, event: wire.ServerEvent) -> None:
        self.events.append(event)

    def kinds(self) -> list[str]:
        return [event.WhichOneof("event") for event in self.events]

    @property
    def answer(self) -> Answer:
        answer = Answer()
        for event in self.events:
            answer.take(event, 0.0)
        return answer

    def check(self) -> None:
        """Every number once and in order, every sample once, the end once."""
        numbers = [event.sequence for event in self.events if not event.HasField("session")]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        samples = 0
        for event in self.events:
            if event.HasField("audio"):
                assert event.audio.offset == samples
                samples += len(event.audio.audio) // 2
        assert self.kinds().count("done") == self.kinds().count("state") == 1


async def ask(client: Client, **question) -> None:
    if "audio" in question:
        for at in range(0, len(question["audio"]), 16_000):
            await client.send(audio=question["audio"][at : at + 16_000])
        await client.send(end_of_audio=wire.EndOfAudio())
    else:
        await client.send(text=question["text"])
        await client.send(respond=wire.Respond())


async def hear(client: Client, heard: Heard, until=lambda event: event.HasField("done")) -> None:
    async for event in client.events():
        heard.add(event)
        if until(event):
            return


def config(**fields) -> wire.SessionConfig:
    return wire.SessionConfig(turn_detection=wire.TURN_DETECTION_MANUAL, sampling=SAMPLED, **fields)


async def undisturbed(gateway: Gateway, **question) -> Heard:
    async with Client(f"127.0.0.1:{gateway.port}") as client:
        await client.open(config())
        heard = Heard()
        await ask(client, **question)
        await hear(client, heard)
        return heard


def spoken(event: wire.ServerEvent) -> bool:
    """Audio that is not the first."""
    return event.HasField("audio") and event.audio.offset > 0


async def until_lost(gateway: Gateway, heard: Heard, until=spoken, fields=None, **question) -> tuple[str, int]:
    """Asks, and loses the connection in the middle. → session, number of the last event."""
    async with Client(f"127.0.0.1:{gateway.port}") as client:
        ready = await client.open(config(**(fields or {})), resumable=True)
        await ask(client, **question)
        await hear(client, heard, until)
        return ready.session_id, client.last_sequence


async def resumed(gateway: Gateway, heard: Heard, session_id: str, after: int) -> wire.SessionReady:
    async with Client(f"127.0.0.1:{gateway.port}") as client:
        ready = await client.open(wire.SessionConfig(), session_id, resumable=True, after=after)
        assert client.last_sequence == after and ready.resumed
        await hear(client, heard)
        return ready


async def items_of(gateway: Gateway, session_id: str) -> list:
    return [(item.role, item.text) for item in await gateway.backend.store.items.list(session_id)]


async def test_a_spoken_answer_goes_on_through_another_gateway_to_the_sample(
    make_gateway, slow_answers, spoken_question, beginnings
):
    here, there = await make_gateway(), await make_gateway()
    question, heard = {"audio": spoken_question.tobytes()}, Heard()
    whole = (await undisturbed(here, **question)).answer
    session_id, last = await until_lost(here, heard, **question)
    ready = await resumed(there, heard, session_id, last)
    assert ready.running_turn_id == heard.events[-1].turn_id
    assert len(beginnings) == 3 and beginnings[:2] == [(), ()] and 10 < len(beginnings[2]) <= TOKENS
    heard.check()
    answer = heard.answer
    assert (answer.text, answer.audio, answer.finish_reason) == (whole.text, whole.audio, whole.finish_reason)
    assert answer.kept == whole.kept and answer.usage.answer_tokens == whole.usage.answer_tokens == TOKENS
    assert await items_of(there, session_id) == [("user", answer.transcript), ("assistant", whole.text)]


@pytest.mark.parametrize("fields", [{}, {"text_only": True}])
async def test_it_is_lost_and_resumed_again_and_again(make_gateway, slow_answers, draw, fields):
    gateways = [await make_gateway() for _ in range(2)]
    images = [draw("teal"), draw("olive")]
    heard, whole = Heard(), Heard()
    for each in (whole, heard):
        async with Client(f"127.0.0.1:{gateways[0].port}") as client:
            session_id = (await client.open(config(**fields), resumable=True)).session_id
            for image in images:
                await client.send(image=image)
            await ask(client, text="what is this?")
            if each is whole:
                await hear(client, each)
            else:
                await hear(client, each, lambda event: event.HasField("text"))
                last = client.last_sequence
    for number in range(6):
        async with Client(f"127.0.0.1:{gateways[(number + 1) % 2].port}") as client:
            await client.open(wire.SessionConfig(), session_id, resumable=True, after=last)
            seen = len(heard.events)
            await hear(client, heard, lambda event, seen=seen: len(heard.events) > seen + 4 or event.HasField("done"))
            last = client.last_sequence
    if not heard.events[-1].HasField("done"):
        await resumed(gateways[0], heard, session_id, last)
    heard.check()
    assert (heard.answer.text, heard.answer.audio) == (whole.answer.text, whole.answer.audio)
    assert heard.answer.finish_reason == "length" and bool(heard.answer.audio) != bool(fields)


async def test_a_gateway_is_killed_and_the_client_goes_on_by_itself(services, redis_url, make_gateway, slow_answers):
    there = await make_gateway()
    whole = (await undisturbed(there, text="and now?")).answer
    names = {f"PARLEY_GATEWAY_UPSTREAM_{name.upper()}": f"127.0.0.1:{services.ports[name]}" for name in SERVICES}
    ports = {"PARLEY_GATEWAY_SERVER_PORT": "0", "PARLEY_GATEWAY_SERVER_HTTP_PORT": "0"}
    environment = {**os.environ, **names, **ports, "REDIS_URL": redis_url, "PYTHONPATH": str(ROOT)}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.gateway"), env=environment, stdout=asyncio.subprocess.PIPE
    )
    heard = Heard()
    try:
        port = json.loads(await asyncio.wait_for(process.stdout.readline(), 60))["grpc"]
        async with Client(f"127.0.0.1:{port}", f"127.0.0.1:{there.port}") as client:
            await client.open(config(), resumable=True)
            await ask(client, text="and now?")
            await hear(client, heard, spoken)
            process.send_signal(signal.SIGKILL)
            await hear(client, heard)
            next_answer = Heard()
            await ask(client, text="hello")
            await hear(client, next_answer)
            session_id = client.session_id
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    assert heard.kinds().count("session") == 1
    heard.check()
    assert (heard.answer.text, heard.answer.audio) == (whole.text, whole.audio)
    assert next_answer.answer.complete
    assert [role for role, _ in await items_of(there, session_id)] == ["user", "assistant"] * 2


@pytest.mark.parametrize("spoken", [True, False])
async def test_a_question_that_was_lost_with_its_gateway_is_sent_again(make_gateway, spoken_question, spoken):
    here, there = await make_gateway(), await make_gateway()
    whole = (await undisturbed(there, **({"audio": spoken_question.tobytes()} if spoken else {"text": "hello"}))).answer
    question = Question(audio=spoken_question.tobytes()) if spoken else Question(text="hello")
    async with Client(f"127.0.0.1:{here.port}", f"127.0.0.1:{there.port}") as client:
        await client.open(config(), resumable=True)
        if spoken:
            asking = asyncio.create_task(client.ask(question))
            await asyncio.sleep(1.0)  # of its 2.5 s
            await here._server.stop(None)
        else:
            await here._server.stop(None)
            asking = asyncio.create_task(client.ask(question))
        answer = await asking
    assert (answer.transcript, answer.text, answer.audio) == (whole.transcript, whole.text, whole.audio)
    assert [role for role, _ in await items_of(there, client.session_id)] == ["user", "assistant"]


async def test_what_was_missed_comes_in_order_also_when_all_is_over(make_gateway):
    here, there = await make_gateway(), await make_gateway()
    heard, again = Heard(), Heard()
    session_id, _ = await until_lost(here, heard, lambda event: event.HasField("done"), text="hello")
    middle = next(event for event in heard.events if event.HasField("text"))
    ready = await resumed(there, again, session_id, middle.sequence)
    assert not ready.running_turn_id
    assert again.events == [event for event in heard.events if event.sequence > middle.sequence]


async def test_a_question_that_was_being_spoken_ends_and_the_client_can_ask_again(make_gateway, spoken_question):
    here, there = await make_gateway(), await make_gateway()
    async with Client(f"127.0.0.1:{here.port}") as client:
        session_id = (await client.open(config(), resumable=True)).session_id
        await client.send(audio=spoken_question[:8000].tobytes(), question_id="mine")
        event = await anext(client.events())
        last = client.last_sequence
    async with Client(f"127.0.0.1:{there.port}") as client:
        await client.open(wire.SessionConfig(), session_id, resumable=True, after=last)
        heard = Heard()
        await hear(client, heard)
        assert (heard.events[-1].turn_id, heard.events[-1].question_id) == (event.turn_id, "mine")
        assert heard.answer.finish_reason == "cancelled"
        again = Heard()
        await ask(client, audio=spoken_question.tobytes())
        await hear(client, again)
        assert again.answer.complete and again.events[0].sequence == heard.events[-1].sequence + 1


async def test_the_lease_of_a_dead_gateway_keeps_nobody_waiting_who_has_resumed(make_gateway, redis_url):
    here, there = await make_gateway(), await make_gateway()
    async with Client(f"127.0.0.1:{here.port}") as client:
        session_id = (await client.open(config(), resumable=True)).session_id
    async with Redis.from_url(redis_url) as redis:  # it died with a turn that had said nothing
        await redis.set(key(session_id, "turn"), "token of a dead process", px=600_000)
        await redis.set(key(session_id, "last"), "token of a dead process", px=600_000)
    async with Client(f"127.0.0.1:{there.port}") as client:
        await client.open(wire.SessionConfig(), session_id, resumable=True, after=0)
        heard = Heard()
        await ask(client, text="hello")
        await asyncio.wait_for(hear(client, heard), 50)  # far less than the lease
    assert heard.answer.complete


async def ask_aloud(client: Client, speech: bytes) -> str:
    """The server detects the end. Returns the session's id."""
    config = wire.SessionConfig(turn_detection=wire.TURN_DETECTION_SERVER_VAD, sampling=SAMPLED)
    session_id = (await client.open(config, resumable=True)).session_id
    await say(client, speech + bytes(2 * 16_000))
    return session_id


async def say(client: Client, audio: bytes) -> None:
    for at in range(0, len(audio), 16_000):
        await client.send(audio=audio[at : at + 16_000])


async def test_an_answer_that_was_held_goes_on_and_the_speech_that_held_it_is_gone(
    make_gateway, slow_answers, spoken_question, monkeypatch
):
    monkeypatch.setattr(interruption, "FIRST_DOUBT", 0.0)  # it is not decided while it is spoken
    monkeypatch.setattr(interruption, "LAST_DOUBT", 0.0)
    here, there = await make_gateway(), await make_gateway()
    speech, whole, heard, rest = spoken_question.tobytes(), Heard(), Heard(), Heard()
    async with Client(f"127.0.0.1:{here.port}") as client:
        await ask_aloud(client, speech)
        await hear(client, whole)
    async with Client(f"127.0.0.1:{here.port}") as client:
        session_id = await ask_aloud(client, speech)
        await hear(client, heard, spoken)
        turn_id = heard.events[-1].turn_id
        await say(client, speech[:48_000])
        await hear(client, heard, lambda event: event.HasField("playback"))
        last = client.last_sequence
    async with Client(f"127.0.0.1:{there.port}") as client:
        ready = await client.open(wire.SessionConfig(), session_id, resumable=True, after=last)
        await hear(client, rest, lambda event: event.HasField("done") and event.turn_id == turn_id)
    ends = [event.done for event in rest.events if event.HasField("done") and event.turn_id != turn_id]
    assert all(done.finish_reason == FinishReason.FINISH_REASON_CANCELLED for done in ends)
    assert ready.running_turn_id == turn_id
    heard.events = [event for event in [*heard.events, *rest.events] if event.turn_id == turn_id]
    assert (heard.answer.text, heard.answer.audio) == (whole.answer.text, whole.answer.audio)
    assert heard.answer.finish_reason == "length"


async def test_without_a_resume_what_was_delivered_is_history(make_gateway, slow_answers):
    here, there = await make_gateway(), await make_gateway()
    heard = Heard()
    session_id, _ = await until_lost(here, heard, text="hello")
    said = "".join(event.text.text for event in heard.events if event.HasField("text"))
    async with Client(f"127.0.0.1:{there.port}") as client:
        ready = await client.open(config(), session_id)
        assert ready.items == 2 and not ready.running_turn_id
        await ask(client, text="and?")
        after = Heard()
        await hear(client, after)
        assert after.answer.complete
    (asked, question), (answered, answer), *_ = await items_of(there, session_id)
    assert (asked, question, answered) == ("user", "hello", "assistant") and answer.startswith(said)
    assert await there.backend.store.running_turns.fields(session_id) == {}


@pytest.mark.parametrize("gone", ["the weights", "the question"])
async def test_an_answer_that_cannot_be_made_again_ends_and_what_was_said_is_kept(
    make_gateway, services, slow_answers, spoken_question, redis_url, gone
):
    here = await make_gateway()
    silent = f"127.0.0.1:{services.ports['silent']}"
    there = await make_gateway(upstream__llm_core=silent) if gone == "the weights" else await make_gateway()
    heard = Heard()
    session_id, last = await until_lost(here, heard, audio=spoken_question.tobytes())
    if gone == "the question":
        redis = Redis.from_url(redis_url)
        await redis.delete(*await redis.keys("parley:{embeddings}:*"))
        await redis.aclose()
    ready = await resumed(there, heard, session_id, last)
    assert not ready.running_turn_id
    heard.check()
    assert heard.kinds()[-4:] == ["item_created", "item_created", "error", "done"]
    assert (heard.answer.finish_reason, heard.answer.error.code) == ("failed", "ABORTED")
    assert ("replaced" if gone == "the weights" else "not kept") in heard.answer.error.message
    (_, question), (_, answer) = await items_of(there, session_id)
    assert question == heard.answer.transcript and heard.answer.text.startswith(answer)


async def test_a_gateway_that_has_not_noticed_delivers_nothing_more(make_gateway, slow_answers):
    here, there = await make_gateway(), await make_gateway()
    heard, old = Heard(), Heard()
    async with Client(f"127.0.0.1:{here.port}") as client:
        session_id = (await client.open(config(), resumable=True)).session_id
        await ask(client, text="hello")
        await hear(client, heard, spoken)
        last = client.last_sequence
        await resumed(there, heard, session_id, last)
        with pytest.raises(grpc.aio.AioRpcError, match="newer connection") as caught:
            await hear(client, old)
    assert caught.value.code() == grpc.StatusCode.ABORTED
    heard.check()
    of_the_new = {event.sequence: event for event in heard.events}
    assert all(event == of_the_new[event.sequence] for event in old.events)  # delivered before it was taken over
    assert len(await items_of(there, session_id)) == 2


async def test_an_interruption_while_the_answer_is_made_again_keeps_what_was_said(make_gateway, slow_answers):
    here, there = await make_gateway(), await make_gateway()
    heard = Heard()
    session_id, last = await until_lost(
        here, heard, lambda event: event.HasField("audio") and event.audio.offset > 24_000, text="hello"
    )
    samples = sum(len(event.audio.audio) // 2 for event in heard.events if event.HasField("audio"))
    async with Client(f"127.0.0.1:{there.port}") as client:
        await client.open(wire.SessionConfig(), session_id, resumable=True, after=last)
        turn_id = heard.events[-1].turn_id
        await client.send(played=wire.Played(turn_id=turn_id, samples=samples // 2))
        await client.send(cancel=wire.CancelTurn())
        await hear(client, heard)
    assert heard.answer.finish_reason == "cancelled"
    _, answer = await there.backend.store.items.list(session_id)
    assert answer.played == samples // 2 and heard.answer.text.startswith(answer.text)
    assert answer.marks[-1][0] >= samples


async def test_what_cannot_be_resumed_is_said(make_gateway):
    gateway = await make_gateway(store__resume_seconds=0.2)
    heard = Heard()
    session_id, last = await until_lost(gateway, heard, lambda event: event.HasField("done"), text="hello")
    await asyncio.sleep(0.3)
    for session, after, code, complaint in (
        (session_id, last - 3, grpc.StatusCode.OUT_OF_RANGE, "open the session again without resuming"),
        (session_id, last + 3, grpc.StatusCode.OUT_OF_RANGE, f"the last is {last}"),
        ("", 3, grpc.StatusCode.INVALID_ARGUMENT, "send the session_id"),
        ("unknown", 3, grpc.StatusCode.NOT_FOUND, "no session"),
    ):
        async with Client(f"127.0.0.1:{gateway.port}") as client:
            with pytest.raises(grpc.aio.AioRpcError, match=complaint) as caught:
                await client.open(wire.SessionConfig(), session, resumable=True, after=after)
            assert caught.value.code() == code
    async with Client(f"127.0.0.1:{gateway.port}") as client:  # nothing was missed
        await client.open(wire.SessionConfig(), session_id, resumable=True, after=last)
        again = Heard()
        await ask(client, text="hello")
        await hear(client, again)
        assert again.answer.complete and again.events[0].sequence == last + 1
