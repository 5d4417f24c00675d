"""One answer without a session, by the real services: to text, pictures, speech and history; cancelled and bounded."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from services.gateway import events
from services.gateway.conversation.stateless import StatelessTurn
from services.gateway.events.items import Item, ItemPart
from services.gateway.events.session import SamplingConfig, SessionConfig
from services.gateway.settings import ConversationSettings, MediaSettings
from services.rpc.errors import ServiceError
from services.telemetry import metrics


@pytest.fixture
async def backend(make_gateway):
    return (await make_gateway()).backend


def config(max_tokens: int = 8, text_only: bool = True, **more) -> SessionConfig:
    return SessionConfig(sampling=SamplingConfig(max_tokens=max_tokens, seed=3), text_only=text_only, **more)


def text(content: str, role: str = "user") -> Item:
    return Item(id="", role=role, parts=[ItemPart(kind="text", text=content)])


def turn_of(backend, settings: ConversationSettings | None = None, **more) -> StatelessTurn:
    settings = settings or ConversationSettings()
    return StatelessTurn(backend.releases.current, backend.store, settings, MediaSettings(), **more)


async def answer(turn: StatelessTurn, items: list[Item], asked: SessionConfig) -> list[events.Body]:
    return [body async for body in turn.answer(items, asked)]


def words(bodies: list[events.Body]) -> str:
    return "".join(body.text for body in bodies if isinstance(body, events.TextDelta))


async def test_a_written_question_is_answered_in_writing(backend):
    told = await answer(turn_of(backend), [text("hello")], config())
    assert isinstance(told[0], events.StateDecided) and isinstance(told[-1], events.TurnDone)
    done = told[-1]
    assert done.finish_reason == "length" and done.usage.answer_tokens == 8 and done.text == words(told) != ""
    assert done.latency.total > 0 and not any(isinstance(body, events.AudioDelta) for body in told)


async def test_the_same_seed_gives_the_same_answer_and_audio(backend):
    asked = config(text_only=False).model_copy(
        update={"sampling": SamplingConfig(max_tokens=8, seed=3, temperature=1.0)}
    )
    first, second = [await answer(turn_of(backend), [text("hello")], asked) for _ in range(2)]
    audio = [b"".join(b.audio for b in told if isinstance(b, events.AudioDelta)) for told in (first, second)]
    assert words(first) == words(second) and audio[0] == audio[1] and len(audio[0]) > 1000
    assert first[-1].usage.audio_output_seconds > 0


async def test_history_instructions_pictures_and_speech_are_read(backend, draw, spoken_question):
    asked, plain = config(), words(await answer(turn_of(backend), [text("hello")], config()))
    history = [text("what is two plus three?"), text("it is five.", "assistant"), text("hello")]
    assert words(await answer(turn_of(backend), history, asked)) != plain
    assert words(await answer(turn_of(backend), [text("hello")], config(instructions="be brief"))) != plain
    turn = turn_of(backend)
    picture = await turn.parts.encode_image(draw("khaki"), "", turn.calls)
    speech = await turn.parts.encode_audio(spoken_question.tobytes(), "", turn.calls)
    question = Item(id="", role="user", parts=[picture, speech, ItemPart(kind="text", text="hello")])
    told = await answer(turn, [*history[:2], question], asked)
    assert words(told) != plain
    assert told[-1].usage.prompt_tokens > picture.ref.length + speech.ref.length


async def test_parts_are_read_although_the_store_keeps_none(backend, draw, monkeypatch):
    async def refuse(ref, data):
        return False

    turn = turn_of(backend)
    monkeypatch.setattr(backend.store.embeddings, "put", refuse)
    picture = await turn.parts.encode_image(draw("indigo"), "", turn.calls)
    (done,) = (await answer(turn, [Item(id="", role="user", parts=[picture])], config()))[-1:]
    assert done.usage.prompt_tokens > picture.ref.length


async def test_the_output_of_a_call_may_be_last(backend):
    call = Item(id="", type="function_call", call_id="c", name="add", arguments='{"a": 1}')
    output = Item(id="", type="function_call_output", call_id="c", output="3")
    assert (await answer(turn_of(backend), [text("add"), call, output], config()))[-1].finish_reason == "length"


@pytest.mark.parametrize("items", [[], [text("hello", "assistant")], [text("")]])
async def test_what_cannot_be_answered_is_refused(backend, items):
    with pytest.raises(ServiceError, match="last item") as caught:
        await answer(turn_of(backend), items, config())
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT


async def test_history_is_refused_and_not_cut_where_it_is_too_long(backend):
    with pytest.raises(ServiceError, match="tokens long and the context") as caught:
        await answer(turn_of(backend), [text("one two three " * 300), text("so", "assistant"), text("hello")], config())
    assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_reader_that_goes_away_cancels_the_answer_at_once(backend):
    cancelled = metrics.TURNS.labels("cancelled")._value.get()
    bodies = turn_of(backend).answer([text("hello")], config(max_tokens=200, text_only=False))
    async for body in bodies:
        if isinstance(body, events.TextDelta):
            break
    await bodies.aclose()
    assert metrics.TURNS.labels("cancelled")._value.get() == cancelled + 1
    assert not [task for task in asyncio.all_tasks() if "StatelessTurn" in repr(task)]


async def test_a_slow_reader_makes_the_answer_wait_and_the_time_of_a_turn_is_bounded(backend):
    turn = turn_of(backend, ConversationSettings(max_turn_seconds=0.5, max_unread_events=2))
    bodies = turn.answer([text("hello")], config(max_tokens=200))
    await anext(bodies)
    await asyncio.sleep(0.7)
    with pytest.raises(ServiceError, match=r"limit of 0\.5 s") as caught:
        async for _ in bodies:
            pass
    assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
