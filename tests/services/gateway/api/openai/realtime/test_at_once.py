"""Clients that send one event behind the other without waiting, and speech behind speech."""

from __future__ import annotations

import asyncio
import base64

import pytest

from services.gateway.conversation.turn import Turn

from .conftest import types

SILENCE = b"\0" * 2 * 24_000  # a second
VAD = {"input": {"turn_detection": {"type": "server_vad"}, "transcription": {"model": "whisper-1"}}}
PUSH = {"input": {"turn_detection": None, "transcription": {"model": "whisper-1"}}}
TRANSCRIBED = "conversation.item.input_audio_transcription.completed"


def of(came: list[dict], type: str) -> list[dict]:
    return [event for event in came if event["type"] == type]


async def test_a_response_that_is_cancelled_at_once_begins_and_ends(realtime):
    await realtime.add("hello")
    await realtime.send("response.create")
    await realtime.send("response.cancel")
    came = await realtime.until("response.done")
    assert types(came) == ["response.created", "response.done"]
    assert came[-1]["response"]["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}


async def test_a_response_begins_when_the_cancelled_one_is_done(realtime):
    await realtime.update(max_output_tokens="inf")
    await realtime.add("a long story please")
    await realtime.send("response.create")
    await realtime.until("response.output_audio.delta")
    await realtime.send("response.cancel")
    await realtime.send("response.create", response={"max_output_tokens": 4})
    came = await realtime.until("response.done") + await realtime.until("response.done")
    ends = [event["type"] for event in came if event["type"] in ("response.created", "response.done")]
    assert ends == ["response.done", "response.created", "response.done"]


async def test_what_is_sent_behind_a_commit_comes_behind_it(realtime, question_24k):
    await realtime.say(question_24k)
    await realtime.send("input_audio_buffer.commit")
    text = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "in one word"}]}
    await realtime.send("conversation.item.create", item=text)
    await realtime.send("response.create", response={"max_output_tokens": 4})
    came = await realtime.until("response.done")
    question, written, answer = of(came, "conversation.item.added")
    assert question["item"]["content"][0]["type"] == "input_audio" and question["previous_item_id"] is None
    assert written["previous_item_id"] == question["item"]["id"]
    assert answer["previous_item_id"] == written["item"]["id"]
    assert types(came).index("input_audio_buffer.committed") < types(came).index("response.created")


@pytest.mark.parametrize("intent", ["transcription", ""])
async def test_speech_that_comes_faster_than_it_is_understood_is_all_heard(
    make_gateway, open_realtime, question_24k, intent
):
    client = await open_realtime(await make_gateway(), f"intent={intent}")
    if not intent:
        await client.update(audio=VAD, max_output_tokens=4)
    await client.say(SILENCE + (question_24k + SILENCE) * 2, chunk=1 << 20)
    came = await client.until(TRANSCRIBED) + await client.until(TRANSCRIBED)
    started, stopped = (of(came, f"input_audio_buffer.speech_{name}") for name in ("started", "stopped"))
    items = [event["item_id"] for event in started]
    assert len(set(items)) == 2 and [event["item_id"] for event in stopped] == items
    assert [event["item_id"] for event in of(came, "input_audio_buffer.committed")] == items
    assert all(event["transcript"] for event in of(came, TRANSCRIBED))
    if not intent:  # the second question is answered; the first was interrupted before anything was said
        assert [event["type"] for event in await client.until("response.done")].count("response.created") <= 1
        for item_id in items:
            kept = await client.ask("conversation.item.retrieve", "conversation.item.retrieved", item_id=item_id)
            assert kept["item"]["content"][0]["transcript"]


async def test_an_answer_of_which_nothing_was_heard_is_an_item_all_the_same(realtime):
    await realtime.add("a long story please")
    await realtime.send("response.create", response={"max_output_tokens": "inf"})
    await realtime.until("response.output_item.added")
    await realtime.send("response.cancel")
    (item,) = (await realtime.until("response.done"))[-1]["response"]["output"]
    place = {"item_id": item["id"]}
    cut = await realtime.ask(
        "conversation.item.truncate", "conversation.item.truncated", **place, content_index=0, audio_end_ms=0
    )
    assert cut["audio_end_ms"] == 0
    kept = await realtime.ask("conversation.item.retrieve", "conversation.item.retrieved", **place)
    assert kept["item"]["content"] == [{"type": "output_audio", "transcript": ""}]
    await realtime.ask("conversation.item.delete", "conversation.item.deleted", **place)


async def test_an_answer_is_said_to_come_behind_the_item_that_it_comes_behind(realtime):
    async def before_the_answer() -> tuple[str, str]:
        came = await realtime.respond(max_output_tokens=4)
        added = of(came, "conversation.item.added")[0]
        return added["previous_item_id"], added["item"]["id"]

    one = (await realtime.add("one"))["item"]["id"]
    await realtime.respond(max_output_tokens=4, conversation="none")
    previous, answer = await before_the_answer()
    assert previous == one
    await realtime.add("in front of all", previous_item_id="root")
    previous, second = await before_the_answer()
    assert previous == answer
    await realtime.ask("conversation.item.delete", "conversation.item.deleted", item_id=second)
    two = (await realtime.add("two"))["item"]["id"]
    assert (await before_the_answer())[0] == two


async def test_speech_in_an_item_is_in_the_format_of_the_sessions_input(realtime, question_24k):
    async def audio_tokens() -> int:
        came = await realtime.respond(max_output_tokens=4)
        return came[-1]["response"]["usage"]["input_token_details"]["audio_tokens"]

    await realtime.say(question_24k)
    await realtime.send("input_audio_buffer.commit")
    await realtime.until(TRANSCRIBED)
    spoken = await audio_tokens()
    content = {"type": "input_audio", "audio": base64.b64encode(question_24k).decode()}
    item = await realtime.add_item({"type": "message", "role": "user", "content": [content]})
    assert item["item"]["content"][0]["transcript"]
    # Read at another rate it would be half as long again.
    assert spoken and abs(await audio_tokens() - 2 * spoken) <= 2


async def test_a_question_that_is_never_committed_disturbs_nobody(make_gateway, open_realtime, question_24k):
    """Clients that detect speech themselves send all that the microphone hears, and clear it when somebody speaks."""
    client = await open_realtime(await make_gateway(media__max_audio_seconds=4, conversation__max_turn_events=60))
    await client.update(audio=PUSH, max_output_tokens=4)
    await client.say(10 * SILENCE)  # a hundred events
    assert await client.refusal("input_audio_buffer.commit") == ("too_large", None)
    await client.say(10 * SILENCE)
    await client.ask("input_audio_buffer.clear", "input_audio_buffer.cleared")
    await client.say(question_24k)
    await client.send("input_audio_buffer.commit")
    assert (await client.until(TRANSCRIBED))[-1]["transcript"]


async def test_a_question_that_is_left_is_given_up_and_said_so_when_it_is_committed(make_gateway, open_realtime):
    client = await open_realtime(await make_gateway(conversation__question_idle_seconds=0.2))
    await client.update(audio=PUSH)
    await client.say(SILENCE)
    assert not await client.quiet(1.5)
    error = (await client.ask("input_audio_buffer.commit", "error"))["error"]
    assert error["code"] == "timeout" and "given up" in error["message"]


async def test_a_connection_keeps_no_prompt_of_a_turn_that_is_over(realtime, monkeypatch):
    turns = []
    made = Turn.__init__

    def note(turn: Turn, *args, **fields) -> None:
        made(turn, *args, **fields)
        turns.append(turn)

    monkeypatch.setattr(Turn, "__init__", note)
    await realtime.add("hello")
    await realtime.respond(max_output_tokens=4)
    await asyncio.wait([turn.task for turn in turns])
    assert [(list(turn.pipeline._prompt.opening), turn.pipeline._prompt.parts.items) for turn in turns] == [([], [])]


async def test_a_response_is_of_the_session_as_its_question_began(realtime, question_24k):
    await realtime.update(audio=VAD)
    await realtime.say(question_24k)
    await realtime.until("input_audio_buffer.speech_started")
    await realtime.update(output_modalities=["text"])
    await realtime.say(SILENCE)
    came = await realtime.until("response.done")
    assert came[-1]["response"]["output_modalities"] == ["audio"]
    assert of(came, "response.output_audio.delta") and not of(came, "response.output_text.delta")
