"""Functions over the Realtime API, with the real services and a model that has learned to call one."""

from __future__ import annotations

import json

import pytest

from services.registry import SERVICES
from tests.services.gateway.api.openai.realtime.conftest import types
from tests.services.gateway.api.openai.test_tools import FUNCTION

TOOL = {"type": "function", **FUNCTION}


@pytest.fixture(scope="module")
def addresses(calling_checkpoint, services):
    """Of the four services with the model that calls functions, as settings of a gateway."""
    for name in SERVICES:
        services.start(name, f"speaking {name}", checkpoint=calling_checkpoint)
    yield {f"upstream__{name}": f"127.0.0.1:{services.ports[f'speaking {name}']}" for name in SERVICES}
    for name in SERVICES:
        services.kill(f"speaking {name}")


@pytest.fixture
async def client(make_gateway, open_realtime, addresses):
    client = await open_realtime(await make_gateway(**addresses))
    session = await client.update(tools=[TOOL], audio={"input": {"turn_detection": None}})
    assert session["tools"] == [TOOL] and session["tool_choice"] == "auto"
    return client


async def test_calls_are_items_and_are_not_spoken_and_their_outputs_are_answered(client):
    await client.add("compare Rome and Oslo.")
    came = await client.respond()
    message, *calls = came[-1]["response"]["output"]
    assert message["content"] == [{"type": "output_audio", "transcript": "let me look."}]
    assert [(call["type"], call["name"], call["status"]) for call in calls] == [
        ("function_call", "get_weather", "completed")
    ] * 2
    assert [json.loads(call["arguments"])["city"] for call in calls] == ["Rome", "Oslo"]
    for index, call in enumerate(calls, start=1):
        own = [event for event in came if event.get("output_index") == index]
        assert [event for event in types(own) if "added" not in event] == [
            "response.function_call_arguments.delta",
            "response.function_call_arguments.done",
            "response.output_item.done",
        ]
        added = next(event for event in own if event["type"] == "response.output_item.added")
        assert added["item"]["arguments"] == "" and added["item"]["call_id"] == call["call_id"]
        deltas = [event["delta"] for event in own if event["type"].endswith("arguments.delta")]
        assert "".join(deltas) == call["arguments"] and len(deltas) > 1
        item = await client.ask("conversation.item.retrieve", "conversation.item.retrieved", item_id=call["id"])
        assert item["item"]["arguments"] == call["arguments"]
    for call, output in zip(calls, ("sunny", "cloudy"), strict=True):
        await client.add_item({"type": "function_call_output", "call_id": call["call_id"], "output": output})
    (item,) = (await client.respond())[-1]["response"]["output"]
    assert item["content"][0]["transcript"] == "Rome is sunny, Oslo is cloudy."


async def test_a_function_can_be_demanded_and_forbidden(client):
    await client.add("compare Rome and Oslo.")
    (call, *_) = (await client.respond(tool_choice={"type": "function", "name": "get_weather"}))[-1]["response"][
        "output"
    ]
    assert call["type"] == "function_call" and call["name"] == "get_weather"
    output = (await client.respond(tool_choice="none", conversation="none"))[-1]["response"]["output"]
    assert [item["type"] for item in output] == ["message"]


@pytest.mark.parametrize(
    ("session", "param"),
    [
        ({"tools": [{"type": "mcp", "server_label": "x"}]}, "session.tools.0.type"),
        ({"tools": [{"type": "function"}]}, "session.tools.0.name"),
        ({"tool_choice": {"type": "function", "name": "no"}}, "session.tool_choice"),
    ],
)
async def test_what_is_no_function_is_refused(client, session, param):
    assert (await client.refusal("session.update", session={"type": "realtime", **session}))[1] == param
