"""A named question ends with one `done`, whatever is sent before, between and after its parts."""

from __future__ import annotations

import asyncio

import pytest

from cli.client import Client
from protos.parley.v1 import conversation_pb2 as wire
from protos.parley.v1.language_model_pb2 import Message
from protos.parley.v1.usage_pb2 import FinishReason
from services.rpc.errors import ServiceError

END, RESPOND = wire.EndOfAudio(), wire.Respond()
NO_PICTURE = b"this is no picture"
ANSWERED = ("stop", "length")


async def say(client: Client, name: str, audio: bytes, end: bool = True) -> None:
    for at in range(0, len(audio), 16_000):
        await client.send(audio=audio[at : at + 16_000], question_id=name)
    if end:
        await client.send(end_of_audio=END, question_id=name)


async def write(client: Client, name: str, text: str = "hello") -> None:
    await client.send(text=text, question_id=name)
    await client.send(respond=RESPOND, question_id=name)


class Listener:
    """Reads what comes: how each question ended, and what was kept of it."""

    def __init__(self, client: Client):
        self.client, self.ended, self.kept = client, {}, {}

    async def until(self, *names: str, error: bool = False) -> None:
        """Until these have ended, or an error comes."""
        if names and set(names) <= set(self.ended):
            return
        async with asyncio.timeout(60):
            async for event in self.client.events():
                self.take(event)
                if (error and event.HasField("error")) or (names and set(names) <= set(self.ended)):
                    return
        raise AssertionError("the stream ended")

    def take(self, event: wire.ServerEvent) -> None:
        name = event.question_id
        assert name not in self.ended, f"{name} is told of again: {event}"
        if event.HasField("done"):
            self.ended[name] = FinishReason.Name(event.done.finish_reason).removeprefix("FINISH_REASON_").lower()
        if event.HasField("item_created") and event.item_created.item.role == Message.ROLE_USER:
            self.kept[name] = [content.text for content in event.item_created.item.content if content.text]

    async def all(self, *names: str) -> dict[str, str]:
        """How these have ended. A last question is answered, and nothing else has come before it."""
        await self.until(*names)
        await write(self.client, "last")
        await self.until("last")
        assert set(self.ended) == {*names, "last"} and self.ended["last"] in ANSWERED
        return self.ended


@pytest.fixture
async def gateway(make_gateway):
    return await make_gateway(media__max_audio_seconds=4)


@pytest.fixture
async def client(gateway, connect):
    return await connect(gateway, text_only=True)


@pytest.fixture
def listener(client):
    return Listener(client)


@pytest.fixture
def speech(spoken_question) -> bytes:
    return spoken_question.tobytes()


@pytest.mark.parametrize("noticed", [False, True], ids=["at once", "once the refusal has come"])
@pytest.mark.parametrize("fault", ["too long", "a bad picture"])
@pytest.mark.parametrize("second", ["spoken", "written"])
async def test_one_behind_another_that_was_refused_while_it_was_said(client, listener, speech, second, fault, noticed):
    await say(client, "one", speech * 2 if fault == "too long" else speech, end=False)
    if fault == "a bad picture":
        await client.send(image=NO_PICTURE, question_id="one")
    if noticed:
        await listener.until(error=True)
    await (say(client, "two", speech) if second == "spoken" else write(client, "two"))
    ended = await listener.all("one", "two")
    assert ended["one"] in ("failed", "cancelled") and ended["two"] in ANSWERED


async def test_what_is_written_for_the_next_question_is_not_part_of_the_one_that_is_said(client, listener, speech):
    await say(client, "one", speech, end=False)
    await client.send(text="of two", question_id="two")
    await client.send(end_of_audio=END, question_id="one")
    await listener.until("one")
    await client.send(respond=RESPOND, question_id="two")
    assert (await listener.all("one", "two"))["two"] in ANSWERED
    assert listener.kept == {"one": [], "two": ["of two"], "last": ["hello"]}


async def test_what_has_no_name_belongs_to_the_question_that_is_said(client, listener, speech):
    await say(client, "one", speech, end=False)
    await client.send(text="of one")
    await client.send(end_of_audio=END)
    assert (await listener.all("one"))["one"] in ANSWERED
    assert listener.kept["one"] == ["of one"]


async def test_a_refused_part_of_the_next_question_does_not_harm_the_one_that_is_said(client, listener, speech):
    await say(client, "one", speech, end=False)
    await client.send(text="", question_id="two")
    await client.send(end_of_audio=END, question_id="one")
    await listener.until("one")
    await client.send(respond=RESPOND, question_id="two")
    ended = await listener.all("one", "two")
    assert ended["one"] in ANSWERED and ended["two"] == "failed"


@pytest.mark.parametrize("end", [{"respond": RESPOND}, {"end_of_audio": END}], ids=["respond", "end_of_audio"])
async def test_the_end_of_an_empty_question_leaves_the_one_that_is_said_alone(client, listener, speech, end):
    await say(client, "one", speech, end=False)
    await client.send(**end, question_id="empty")
    await client.send(end_of_audio=END, question_id="one")
    ended = await listener.all("one", "empty")
    assert ended["one"] in ANSWERED and ended["empty"] == "failed"


@pytest.mark.parametrize("spoken", [False, True])
async def test_a_question_whose_end_is_refused_is_over_and_leaves_nothing_behind(
    gateway, client, listener, speech, monkeypatch, spoken
):
    async def refuse(caller) -> None:
        raise ServiceError.busy("too many requests", 1.0)

    with monkeypatch.context() as patch:
        patch.setattr(gateway.backend.access, "request", refuse)
        await (say(client, "one", speech) if spoken else write(client, "one", "secret"))
        await listener.until("one")
    assert (await listener.all("one"))["one"] == "failed"
    assert listener.kept == {"last": ["hello"]}


async def test_an_end_that_comes_twice_does_not_end_the_answer(client, listener, speech):
    await say(client, "one", speech)
    await client.send(end_of_audio=END, question_id="one")
    assert (await listener.all("one"))["one"] in ANSWERED
