"""Conversations over the Realtime API, through the real gateway and services."""

from __future__ import annotations

import asyncio
import base64
import json

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.services.gateway.api.openai.realtime.conftest import types

ANSWER = [
    "response.created",
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
    "response.output_audio_transcript.delta",
    "response.output_audio.delta",
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "response.output_item.done",
    "conversation.item.done",
    "response.done",
]
VAD = {"input": {"turn_detection": {"type": "server_vad"}, "transcription": {"model": "whisper-1"}}}
SILENCE = bytes(2 * 24_000)


async def test_a_session_says_what_holds(make_gateway, open_realtime):
    client = await open_realtime(await make_gateway(), "model=gpt-realtime-mini")
    session = client.events[0]["session"]
    assert session["model"] == "parley" and session["object"] == "realtime.session" and len(session["id"]) >= 16
    assert session["audio"]["input"]["turn_detection"]["type"] == "server_vad"
    first = {  # as LiveKit begins
        "tracing": None,
        "audio": {
            "input": {
                "format": {"type": "audio/pcm", "rate": 24000},
                "transcription": {"model": "gpt-4o-mini-transcribe"},
                "turn_detection": {"type": "semantic_vad", "eagerness": "high"},
                "noise_reduction": {"type": "near_field"},
            },
            "output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "marin", "speed": 1},
        },
    }
    held = (await client.update(**first))["audio"]
    assert held["input"]["noise_reduction"] is None and held["output"]["voice"] == "marin"
    held = (await client.update(audio={"input": {"turn_detection": {"create_response": False}}}))["audio"]["input"]
    assert held["turn_detection"] == {
        "type": "semantic_vad", "eagerness": "high", "create_response": False, "interrupt_response": True,
    }  # fmt: skip
    assert (await client.update(instructions="be brief"))["instructions"] == "be brief"
    assert (await client.update(audio={"input": {"turn_detection": None}}))["instructions"] == "be brief"


async def test_a_written_question_is_answered_aloud(realtime):
    added = await realtime.add("hello")
    assert added["item"]["content"] == [{"type": "input_text", "text": "hello"}] and added["previous_item_id"] is None
    came = await realtime.respond(metadata={"client_event_id": "reply_1"})
    assert [name for name in types(came) if "delta" not in name] == [name for name in ANSWER if "delta" not in name]
    assert [name for name in types(came) if name in ANSWER][:5] == ANSWER[:5]  # text before audio
    created, done = came[0]["response"], came[-1]["response"]
    assert created["metadata"] == done["metadata"] == {"client_event_id": "reply_1"}
    assert created["status"] == "in_progress" and created["output"] == [] and created["usage"] is None
    (item,) = done["output"]
    deltas = [event["delta"] for event in came if event["type"] == "response.output_audio_transcript.delta"]
    assert item["content"] == [{"type": "output_audio", "transcript": "".join(deltas)}]
    usage = done["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] > 8
    assert usage["input_token_details"]["audio_tokens"] == 0
    audio = [base64.b64decode(event["delta"]) for event in came if event["type"] == "response.output_audio.delta"]
    assert max(map(len, audio)) <= 2 * 4800 and sum(map(len, audio)) > 0
    assert came[2]["previous_item_id"] == added["item"]["id"]
    assert not [event for event in await realtime.quiet() if event.get("response_id")]  # nothing after the end


async def test_push_to_talk(realtime, question_24k):
    await realtime.say(question_24k, chunk=4801)  # odd bytes too
    await realtime.send("input_audio_buffer.commit")
    came = await realtime.until("conversation.item.input_audio_transcription.completed")
    assert types(came)[:3] == ["input_audio_buffer.committed", "conversation.item.added", "conversation.item.done"]
    assert len({event["item_id"] for event in came if "item_id" in event}) == 1
    heard = [event["delta"] for event in came if event["type"].endswith("transcription.delta")]
    assert came[-1]["transcript"] == "".join(heard) and came[-1]["usage"]["seconds"] == pytest.approx(2.3, abs=0.1)
    assert not await realtime.quiet()  # no response unless asked for
    came = await realtime.respond()
    assert came[-1]["response"]["usage"]["input_token_details"]["audio_tokens"] > 10


async def test_detected_speech_is_committed_and_answered(realtime, question_24k):
    await realtime.update(audio=VAD)
    await realtime.say(question_24k + SILENCE)
    came = await realtime.until("response.done")
    names = [name for name in types(came) if not name.endswith(".delta")]
    assert names[:5] == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
    ]
    started, stopped = came[0], came[1]
    assert 0 <= started["audio_start_ms"] < 500 < 2000 < stopped["audio_end_ms"] < 3400
    assert started["item_id"] == stopped["item_id"] == came[2]["item_id"] == came[3]["item"]["id"]
    assert names.count("response.created") == 1
    await realtime.send("input_audio_buffer.commit")  # a client that ends the same question once more
    assert not await realtime.quiet()


async def test_speech_that_is_not_meant_for_the_model_is_an_item_and_gets_no_response(
    make_gateway, services, open_realtime, question_24k
):
    gateway = await make_gateway(upstream__llm_core=f"127.0.0.1:{services.ports['silent']}")
    client = await open_realtime(gateway, "parley_events=true")
    await client.update(audio=VAD)
    await client.say(question_24k + SILENCE)
    came = await client.until("parley.state")
    assert came[-1]["state"] == "nothing"
    item_id = came[-1]["item_id"]
    assert not [event for event in await client.quiet() if event["type"].startswith("response.")]
    item = (await client.ask("conversation.item.retrieve", "conversation.item.retrieved", item_id=item_id))["item"]
    assert item["content"][0]["type"] == "input_audio" and item["content"][0]["audio"]


async def test_speech_over_an_answer_that_is_not_meant_for_the_model_leaves_no_trace(
    make_gateway, open_realtime, services, question_24k
):
    both = ",".join(f"127.0.0.1:{services.ports[name]}" for name in ("llm_core", "silent"))
    gateway = await make_gateway(upstream__llm_core=both, conversation__max_unread_events=4)
    client = await open_realtime(gateway, "model=parley&parley_events=true")
    await client.update(audio=VAD, max_output_tokens=100)
    await client.add("a long story please")
    await client.send("response.create")
    await client.until("response.output_audio.delta")
    gateway.backend.settings.upstream.llm_core = f"127.0.0.1:{services.ports['silent']}"  # from now on
    saying = asyncio.create_task(client.say(question_24k + SILENCE))
    came = await client.until("response.done", 60)
    await saying
    came += await client.until("parley.state", 60) if "parley.state" not in types(came) else []
    assert (
        next(event for event in came if event["type"] == "response.done")["response"]["status"] == "incomplete"
    )  # at its longest
    assert not [name for name in types(came) if name.startswith(("input_audio_buffer.", "conversation.item.input"))]
    actions = [event["action"] for event in came if event["type"] == "parley.playback"]
    assert actions[0] == "pause" and actions[-1] == "resume"


async def test_talking_over_an_answer_ends_it(realtime, question_24k):
    await realtime.update(audio=VAD, max_output_tokens="inf")
    await realtime.add("a long story please")
    await realtime.send("response.create")
    await realtime.until("response.output_audio.delta")
    await realtime.say(question_24k + SILENCE)
    came = await realtime.until("response.done")
    ended = came[-1]["response"]
    assert "input_audio_buffer.speech_started" in types(came)  # clients stop playing at this one
    assert (ended["status"], ended["status_details"]) == (
        "cancelled",
        {"type": "cancelled", "reason": "turn_detected"},
    )
    (item,) = ended["output"]
    assert item["status"] == "incomplete"
    truncated = await realtime.ask(
        "conversation.item.truncate",
        "conversation.item.truncated",
        item_id=item["id"],
        content_index=0,
        audio_end_ms=100,
    )
    assert truncated["audio_end_ms"] == 100
    came = await realtime.until("response.done")
    assert came[-1]["response"]["status"] in ("completed", "incomplete")
    assert not [event for event in came if event.get("response_id") == ended["id"]]
    kept = await realtime.ask("conversation.item.retrieve", "conversation.item.retrieved", item_id=item["id"])
    assert len(kept["item"]["content"][0]["transcript"]) < len(item["content"][0]["transcript"])


async def test_with_interrupt_response_off_the_answer_goes_on(realtime, question_24k):
    detection = {"type": "server_vad", "interrupt_response": False, "create_response": False}
    await realtime.update(audio={"input": {"turn_detection": detection}})
    await realtime.add("hello")
    await realtime.send("response.create")
    await realtime.until("response.created")
    await realtime.say(question_24k + SILENCE)
    came = await realtime.until("response.done")
    if "input_audio_buffer.committed" not in types(came):
        came += await realtime.until("input_audio_buffer.committed")
    done = next(event for event in came if event["type"] == "response.done")
    assert done["response"]["status"] == "incomplete"  # at max_output_tokens, not cancelled
    assert not [event for event in await realtime.quiet() if event["type"] == "response.created"]


async def test_speech_that_never_pauses_is_answered_piece_by_piece(make_gateway, open_realtime, question_24k):
    """Each piece is committed where the next one starts; no answer is interrupted."""
    client = await open_realtime(await make_gateway(media__max_audio_seconds=2.0))
    await client.update(max_output_tokens=8, audio={"input": {"turn_detection": {"type": "server_vad"}}})
    phrase = question_24k[6000:42_000]  # 0.75 s without a pause
    await client.say(6 * phrase + SILENCE)
    came = []
    while types(came).count("response.done") < 3:
        came += await client.until("response.done")
    assert {event["response"]["status"] for event in came if event["type"] == "response.done"} == {"incomplete"}
    ends = [event["audio_end_ms"] for event in came if event["type"] == "input_audio_buffer.speech_stopped"]
    starts = [event["audio_start_ms"] for event in came if event["type"] == "input_audio_buffer.speech_started"]
    assert ends[:2] == starts[1:]
    assert types(came).count("input_audio_buffer.committed") == 3


async def test_an_answer_is_cancelled(realtime):
    await realtime.update(max_output_tokens="inf")
    await realtime.add("a long story please")
    await realtime.send("response.create")
    created = (await realtime.until("response.created"))[-1]["response"]
    assert await realtime.refusal("response.create") == ("conversation_already_has_active_response", None)
    await realtime.send("response.cancel", response_id=created["id"])
    done = (await realtime.until("response.done"))[-1]["response"]
    assert (done["status"], done["status_details"]["reason"]) == ("cancelled", "client_cancelled")
    assert await realtime.refusal("response.cancel") == ("response_cancel_not_active", None)
    assert (await realtime.respond(max_output_tokens=4))[-1]["response"]["status"] == "incomplete"


async def test_items_are_created_anywhere_retrieved_and_deleted(realtime, picture, question_24k):
    one = await realtime.add("one")
    three = await realtime.add("three", previous_item_id=one["item"]["id"])
    two = await realtime.add("two", previous_item_id=one["item"]["id"])
    assert two["previous_item_id"] == one["item"]["id"] == three["previous_item_id"]
    item = {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "be kind"}], "id": "rules"}
    first = await realtime.add_item(item, previous_item_id="root")
    assert first["previous_item_id"] is None and first["item"]["id"] == "rules"
    content = [
        {"type": "input_image", "image_url": "data:image/png;base64," + base64.b64encode(picture).decode()},
        {"type": "input_audio", "audio": base64.b64encode(question_24k).decode()},
    ]
    added = await realtime.add_item({"type": "message", "role": "user", "content": content, "id": "seen"})
    assert [part["type"] for part in added["item"]["content"]] == ["input_image", "input_audio"]
    call = {"type": "function_call", "name": "now", "call_id": "c", "arguments": "{}"}
    assert (await realtime.add_item(call))["item"]["name"] == "now"
    output = {"type": "function_call_output", "call_id": "c", "output": "noon"}
    assert (await realtime.add_item(output))["item"]["output"] == "noon"
    usage = (await realtime.respond())[-1]["response"]["usage"]["input_token_details"]
    assert usage["image_tokens"] > 0 and usage["audio_tokens"] > 0
    gone = await realtime.ask("conversation.item.delete", "conversation.item.deleted", item_id="seen")
    assert gone["item_id"] == "seen"
    usage = (await realtime.respond())[-1]["response"]["usage"]["input_token_details"]
    assert (usage["image_tokens"], usage["audio_tokens"]) == (0, 0)
    assert await realtime.refusal("conversation.item.retrieve", item_id="seen") == (
        "item_retrieve_invalid_item_id",
        "item_id",
    )


async def test_an_answer_and_a_question_come_back_with_their_audio(realtime, question_24k):
    await realtime.say(question_24k)
    await realtime.send("input_audio_buffer.commit")
    asked = (await realtime.until("conversation.item.input_audio_transcription.completed"))[-1]["item_id"]
    came = await realtime.respond()
    answered = came[-1]["response"]["output"][0]["id"]
    sent = b"".join(base64.b64decode(each["delta"]) for each in came if each["type"] == "response.output_audio.delta")
    for item_id, pcm in ((asked, question_24k), (answered, sent)):
        event = await realtime.ask("conversation.item.retrieve", "conversation.item.retrieved", item_id=item_id)
        (content,) = event["item"]["content"]
        assert abs(len(base64.b64decode(content["audio"])) - len(pcm)) < 2000
    whole_ms = 1000 * len(sent) // 48_000
    late = {"item_id": answered, "content_index": 0, "audio_end_ms": whole_ms + 300}  # by a wall clock
    await realtime.ask("conversation.item.truncate", "conversation.item.truncated", **late)
    text = came[-1]["response"]["output"][0]["content"][0]["transcript"]
    event = await realtime.ask("conversation.item.retrieve", "conversation.item.retrieved", item_id=answered)
    assert event["item"]["content"][0]["transcript"] == text.rstrip()
    assert await realtime.refusal("conversation.item.truncate", **{**late, "audio_end_ms": whole_ms + 60_000}) == (
        "invalid_value",
        "audio_end_ms",
    )
    assert await realtime.refusal("conversation.item.truncate", **{**late, "item_id": asked}) == (
        "unsupported_content_type",
        "item_id",
    )


async def test_a_response_beside_the_conversation_leaves_it_as_it_is(realtime):
    await realtime.add("hello")
    first = await realtime.add("what is the topic?", previous_item_id="root")
    inputs = [{"type": "item_reference", "id": first["item"]["id"]}]
    await realtime.send(
        "response.create",
        response={"conversation": "none", "input": inputs, "output_modalities": ["text"], "metadata": {"topic": "x"}},
    )
    came = await realtime.until("response.done")
    done = came[-1]["response"]
    assert done["conversation_id"] is None and done["metadata"] == {"topic": "x"}
    assert done["output"][0]["content"][0]["type"] == "output_text"
    assert not [name for name in types(came) if name.startswith("conversation.item")]
    assert await realtime.refusal("conversation.item.retrieve", item_id=done["output"][0]["id"]) == (
        "item_retrieve_invalid_item_id",
        "item_id",
    )
    done = (await realtime.respond(input=[], instructions="say hi"))[-1]["response"]
    assert done["conversation_id"] is not None and done["usage"]["input_tokens"] < 40


async def test_the_telephone_formats(make_gateway, open_realtime, question_24k, spoken_question):
    from services.gateway.media import g711

    client = await open_realtime(await make_gateway())
    for law in ("pcmu", "pcma"):
        kind = {"type": f"audio/{law}"}
        audio = {"input": {"format": kind, "turn_detection": None}, "output": {"format": kind}}
        session = await client.update(audio=audio, max_output_tokens=8)
        assert session["audio"]["output"]["format"] == kind
        await client.say(g711.encode(spoken_question[::2].tobytes(), law))
        await client.send("input_audio_buffer.commit")
        await client.until("conversation.item.done")
        came = await client.respond()
        audio = [base64.b64decode(each["delta"]) for each in came if each["type"] == "response.output_audio.delta"]
        assert max(map(len, audio)) <= 1600 and sum(map(len, audio)) > 0


async def test_a_transcription_session_only_transcribes(make_gateway, open_realtime, question_24k):
    client = await open_realtime(await make_gateway(), "intent=transcription")
    session = client.events[0]["session"]
    assert session["type"] == "transcription" and session["object"] == "realtime.transcription_session"
    await client.say(question_24k + SILENCE)
    came = await client.until("conversation.item.input_audio_transcription.completed")
    assert came[-1]["transcript"]
    assert not [event for event in await client.quiet() if event["type"].startswith("response")]
    assert (await client.refusal("response.create"))[0] == "invalid_value"


@pytest.mark.parametrize(
    ("message", "code", "param"),
    [
        ("not json", "invalid_json", None),
        ("[1]", "invalid_json", None),
        ({}, "missing_required_parameter", "type"),
        ({"type": "response.audio"}, "invalid_value", "type"),
        ({"type": "output_audio_buffer.clear"}, "invalid_value", "type"),
        ({"type": "session.update"}, "missing_required_parameter", "session"),
        ({"type": "session.update", "session": {"voice": "a"}}, "missing_required_parameter", "session.type"),
        ({"type": "session.update", "session": {"type": "realtime", "x": 1}}, "unknown_parameter", "session.x"),
        (
            {"type": "session.update", "session": {"type": "realtime", "instructions": 3}},
            "invalid_type",
            "session.instructions",
        ),
        (
            {"type": "session.update", "session": {"type": "realtime", "output_modalities": ["text", "audio"]}},
            "invalid_value",
            "session.output_modalities",
        ),
        ({"type": "session.update", "session": {"type": "realtime", "model": "claude"}}, "model_not_found", "model"),
        ({"type": "input_audio_buffer.append"}, "missing_required_parameter", "audio"),
        ({"type": "input_audio_buffer.append", "audio": "&"}, "invalid_value", "audio"),
        ({"type": "input_audio_buffer.commit"}, "input_audio_buffer_commit_empty", None),
        ({"type": "conversation.item.create"}, "missing_required_parameter", "item"),
        ({"type": "conversation.item.create", "item": {"type": "mcp"}}, "invalid_value", "item.type"),
        (
            {"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": [{"text": 1}]}},
            "invalid_type",
            "item.content.0.text",
        ),
        (
            {
                "type": "conversation.item.create",
                "item": {
                    "type": "message",
                    "role": "user",
                    "content": [{"type": "input_image", "image_url": "http://x"}],
                },
            },
            "invalid_value",
            "item.content.0.image_url",
        ),
        ({"type": "conversation.item.delete", "item_id": "no"}, "item_delete_invalid_item_id", "item_id"),
        (
            {"type": "conversation.item.truncate", "item_id": "no", "content_index": 0, "audio_end_ms": 0},
            "item_truncate_invalid_item_id",
            "item_id",
        ),
        ({"type": "response.create", "response": {"prompt": {"id": "p"}}}, "invalid_value", "response.prompt"),
        ({"type": "response.create", "response": {"conversation": "x"}}, "invalid_value", "response.conversation"),
        ({"type": "response.create", "response": {"foo": 1}}, "unknown_parameter", "response.foo"),
        ({"type": "response.create", "response": {"max_output_tokens": 0}}, "invalid_value", None),
    ],
    ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else None,
)
async def test_what_is_wrong_is_named_and_the_session_goes_on(realtime, message, code, param):
    named = isinstance(message, dict)
    await realtime.socket.send(json.dumps(message | {"event_id": "mine"}) if named else message)
    error = (await realtime.until("error"))[-1]["error"]
    assert error["code"] == code and (param is None or error["param"] == param), error
    assert error["event_id"] == ("mine" if named else None)
    assert (await realtime.update())["type"] == "realtime"


async def test_two_items_of_one_name_and_a_place_that_is_not_there_are_refused(realtime):
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}], "id": "same"}
    await realtime.add_item(item)
    assert await realtime.refusal("conversation.item.create", item=item) == (
        "item_create_duplicate_item_id",
        "item.id",
    )
    fields = {"item": {**item, "id": "other"}, "previous_item_id": "nowhere"}
    assert (await realtime.refusal("conversation.item.create", **fields))[1] == "previous_item_id"


async def test_the_voice_stays_once_it_has_been_heard(realtime):
    assert (await realtime.update(audio={"output": {"voice": "ash"}}))["audio"]["output"]["voice"] == "ash"
    unknown = {"type": "realtime", "audio": {"output": {"voice": "nobody"}}}
    assert await realtime.refusal("session.update", session=unknown) == ("invalid_value", "voice")
    await realtime.add("hello")
    await realtime.respond()
    other = {"type": "realtime", "audio": {"output": {"voice": "coral"}}}
    assert await realtime.refusal("session.update", session=other) == (
        "cannot_update_voice",
        "session.audio.output.voice",
    )
    assert (await realtime.update(audio={"output": {"voice": "ash"}}))["audio"]["output"]["voice"] == "ash"


async def test_a_model_that_is_not_served_is_refused_before_the_upgrade(make_gateway):
    gateway = await make_gateway()
    with pytest.raises(InvalidStatus) as caught:
        await connect(f"ws://127.0.0.1:{gateway.http_port}/v1/realtime?model=claude")
    assert caught.value.response.status_code == 404
    assert json.loads(caught.value.response.body)["error"]["code"] == "model_not_found"


async def test_a_full_gateway_says_when_to_come_back(make_gateway, open_realtime):
    gateway = await make_gateway(server__max_connections=1)
    await open_realtime(gateway)
    with pytest.raises(InvalidStatus) as caught:
        await connect(f"ws://127.0.0.1:{gateway.http_port}/v1/realtime")
    response = caught.value.response
    assert response.status_code == 429 and int(response.headers["retry-after"]) >= 1
    assert json.loads(response.body)["error"]["code"] == "rate_limit_exceeded"


async def test_a_session_ends_when_its_time_is_over(make_gateway, open_realtime):
    client = await open_realtime(await make_gateway(server__realtime_seconds=0.5))
    assert (await client.until("error"))[-1]["error"]["code"] == "session_expired"
    with pytest.raises(ConnectionClosed) as caught:
        await client.socket.recv()
    assert caught.value.rcvd.code == 1001


async def test_a_stopping_gateway_sends_its_clients_elsewhere(make_gateway, open_realtime):
    gateway = await make_gateway()
    client = await open_realtime(gateway)
    stopping = asyncio.create_task(gateway.stop())
    with pytest.raises(ConnectionClosed) as caught:
        while True:
            await client.next()
    assert caught.value.rcvd.code in (1001, 1012)
    await stopping


async def test_a_flood_ends_the_connection(make_gateway, open_realtime):
    client = await open_realtime(await make_gateway(conversation__max_turn_events=20))
    with pytest.raises(ConnectionClosed) as caught:
        for _ in range(40):
            await client.send("input_audio_buffer.clear")
        while True:
            await client.next()
    assert caught.value.rcvd.code == 1008


async def test_a_user_who_says_nothing_is_spoken_to(realtime, monkeypatch):
    from services.gateway.api.openai.realtime import session

    monkeypatch.setitem(session.RANGES, "idle_timeout_ms", (1, 30_000))
    await realtime.update(audio={"input": {"turn_detection": {"type": "server_vad", "idle_timeout_ms": 100}}})
    await realtime.add("hello")
    await realtime.respond(output_modalities=["text"])
    came = await realtime.until("response.done")
    assert types(came)[:5] == [
        "input_audio_buffer.timeout_triggered",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
    ]
    await realtime.update(audio={"input": {"turn_detection": None}})
    assert not [event for event in await realtime.quiet(1.0) if event["type"].startswith("input_audio")]
