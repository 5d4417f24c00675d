"""The tables of docs/api.md: what the Realtime API does with each event and field."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
from openai.types.realtime import RealtimeServerEvent, RealtimeSessionCreateRequest

from services.gateway.api.openai.realtime.client_events import CLIENT_EVENTS
from tests.services.gateway.api.openai.realtime.conftest import types

PAGE = (Path(__file__).parents[6] / "docs" / "api.md").read_text()
SERVER_EVENTS = {
    get_args(event.model_fields["type"].annotation)[0] for event in get_args(get_args(RealtimeServerEvent)[0])
}
OTHER_TESTS = {  # events that are shown there
    "response.function_call_arguments.delta": "test_tools.py",
    "response.function_call_arguments.done": "test_tools.py",
    "input_audio_buffer.timeout_triggered": "test_connection.py",
    "conversation.item.input_audio_transcription.failed": "test_translator.py",
    "rate_limits.updated": "test_limits.py",
}
GROUPS = {"audio", "audio.input", "audio.output"}  # fields that only hold others


def table(heading: str) -> dict[str, str]:
    """Name in the first column → second column, of the table below a heading of the section on Realtime."""
    section = PAGE.split("\n## Realtime\n")[1].split(f"\n### {heading}\n")[1].split("\n### ")[0]
    rows = [line.split("|")[1:3] for line in section.splitlines() if line.startswith("| `")]
    return {name: status.strip() for names, status in rows for name in re.findall(r"`([^`]+)`", names)}


def fields(model, path: str = "") -> set[str]:
    """Paths of a model's fields; `audio` and what it groups are opened."""
    found = set()
    for name, field in model.model_fields.items():
        below = f"{path}{name}"
        inner = next((each for each in get_args(field.annotation) if hasattr(each, "model_fields")), None)
        found |= fields(inner, f"{below}.") if below in GROUPS else {below}
    return found - {"type"}


def test_every_event_and_field_has_a_row():
    assert set(table("Client events")) == set(CLIENT_EVENTS)
    assert set(table("Server events")) == SERVER_EVENTS
    assert set(table("Session")) == fields(RealtimeSessionCreateRequest)
    words = {"supported", "accepted and ignored", "refused", "sent", "not sent"}
    assert {*table("Client events").values(), *table("Server events").values(), *table("Session").values()} <= words


async def test_every_client_event_is_answered_as_its_row_says_and_every_server_event_that_is_sent_is_seen(
    realtime, question_24k
):
    rows = table("Client events")
    answers: dict[str, str] = {}

    async def ask(type: str, expected: str, **sent) -> dict:
        answers[type] = "supported"
        return await realtime.ask(type, expected, **sent)

    await ask("session.update", "session.updated", session={"type": "realtime", "instructions": "be brief"})
    await ask("input_audio_buffer.clear", "input_audio_buffer.cleared")
    await realtime.say(question_24k)
    await ask("input_audio_buffer.commit", "input_audio_buffer.committed")
    answers["input_audio_buffer.append"] = "supported"
    heard = await realtime.until("conversation.item.input_audio_transcription.completed")
    content = [{"type": "input_text", "text": "hello"}]
    await ask(
        "conversation.item.create",
        "conversation.item.done",
        item={"type": "message", "role": "user", "content": content},
    )
    done = await ask("response.create", "response.done")
    item_id = done["response"]["output"][0]["id"]
    place = {"item_id": item_id, "content_index": 0, "audio_end_ms": 10}
    await ask("conversation.item.truncate", "conversation.item.truncated", **place)
    await ask("conversation.item.retrieve", "conversation.item.retrieved", item_id=item_id)
    await ask("conversation.item.delete", "conversation.item.deleted", item_id=item_id)
    await realtime.respond(output_modalities=["text"])
    await realtime.update(max_output_tokens="inf")
    await realtime.send("response.create")
    await realtime.until("response.created")
    await ask("response.cancel", "response.done")
    assert (await realtime.refusal("output_audio_buffer.clear"))[1] == "type"
    answers["output_audio_buffer.clear"] = "refused"
    detection = {"type": "server_vad", "create_response": False}
    await realtime.update(audio={"input": {"turn_detection": detection}})
    await realtime.say(question_24k + bytes(48_000))
    await realtime.until("input_audio_buffer.committed")
    assert heard and answers == rows
    sent = {name for name, status in table("Server events").items() if status == "sent"}
    assert {*types(realtime.events), *OTHER_TESTS} == sent


VALUES = {  # field → (a value, what holds then)
    "model": ("gpt-realtime-mini", "parley"),
    "output_modalities": (["text"], ["text"]),
    "instructions": ("be brief", "be brief"),
    "tools": ([{"type": "function", "name": "now"}], [{"type": "function", "name": "now"}]),
    "tool_choice": ("none", "none"),
    "parallel_tool_calls": (False, False),
    "max_output_tokens": (9, 9),
    "audio.input.format": ({"type": "audio/pcmu"}, {"type": "audio/pcmu"}),
    "audio.input.transcription": ({"model": "any"}, {"model": "any"}),
    "audio.input.noise_reduction": ({"type": "near_field"}, None),
    "audio.input.turn_detection": (None, None),
    "audio.output.format": ({"type": "audio/pcma"}, {"type": "audio/pcma"}),
    "audio.output.voice": ("marin", "marin"),
    "audio.output.speed": (1.25, None),
    "tracing": ("auto", None),
    "truncation": ("disabled", "auto"),
    "reasoning": ({"effort": "low"}, "absent"),
    "include": (["item.input_audio_transcription.logprobs"], None),
    "prompt": ({"id": "p"}, None),
}


@pytest.fixture
async def client(make_gateway, open_realtime):
    return await open_realtime(await make_gateway())


async def test_every_field_is_taken_as_its_row_says(client):
    for path, status in table("Session").items():
        value, held = VALUES[path]
        names = path.split(".")
        patch = value
        for name in reversed(names):
            patch = {name: patch}
        if status == "refused":
            code, param = await client.refusal("session.update", session={"type": "realtime", **patch})
            assert (code, param) == ("invalid_value", f"session.{path}")
            continue
        now = await client.update(**patch)
        for name in names[:-1]:
            now = now[name]
        assert now.get(names[-1], "absent") == held, path
        assert status == ("supported" if held == value else "accepted and ignored"), path
