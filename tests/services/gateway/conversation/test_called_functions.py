"""Function calls from client to model and back: the real gateway and services, and a model that has learned them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.client import Client, Question
from protos.parley.v1 import conversation_pb2 as wire
from protos.parley.v1 import tool_pb2
from services.registry import SERVICES

PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = tool_pb2.Tool(
    name="get_weather", description="The weather of today.", parameters=json.dumps(PARAMETERS)
)  # as it was trained


@pytest.fixture(scope="module")
def addresses(calling_checkpoint, services):
    """Of the four services with the model that calls functions, as settings of a gateway."""
    for name in SERVICES:
        services.start(name, f"calling {name}", checkpoint=calling_checkpoint)
    yield {f"upstream__{name}": f"127.0.0.1:{services.ports[f'calling {name}']}" for name in SERVICES}
    for name in SERVICES:
        services.kill(f"calling {name}")


@pytest.fixture
async def client(make_gateway, connect, addresses) -> Client:
    return await connect(await make_gateway(**addresses), tools=wire.Tools(tools=[WEATHER]), max_tokens=60)


async def give(client: Client, call: wire.FunctionCallDone, output: str) -> None:
    item = wire.Item(type=wire.Item.TYPE_FUNCTION_CALL_OUTPUT, call_id=call.call_id, output=output)
    await client.send(create_item=wire.CreateItem(item=item))


@pytest.mark.parametrize(("city", "sky"), [("Tokyo", "rainy"), ("Quito", "cloudy")])
async def test_the_weather_is_asked_for_and_told(client, city, sky):
    asked = await client.ask(Question(text=f"what is the weather in {city}?"))
    (call,) = asked.calls
    assert (call.name, json.loads(call.arguments)) == ("get_weather", {"city": city})
    assert asked.text == "" and asked.audio == b"" and asked.finish_reason == "stop"
    await give(client, call, sky)
    told = await client.ask(Question())
    assert told.text == told.kept == f"it is {sky} in {city}." and told.calls == []
    assert told.audio_seconds > 0.1 and told.usage.cached_tokens > 100


async def test_text_is_spoken_and_two_calls_are_made(client):
    asked = await client.ask(Question(text="compare Rome and Oslo."))
    assert asked.text == "let me look." and asked.audio_seconds > 0.1
    assert [json.loads(call.arguments)["city"] for call in asked.calls] == ["Rome", "Oslo"]
    for call, sky in reversed(list(zip(asked.calls, ("sunny", "cloudy"), strict=True))):
        await give(client, call, sky)
    assert (await client.ask(Question())).text == "Rome is sunny, Oslo is cloudy."


async def test_without_a_need_nothing_is_called(client):
    answer = await client.ask(Question(text="hello"))
    assert answer.text == "hello, how are you?" and answer.calls == []


async def test_a_call_is_forced(client):
    await client.send(update=wire.SessionConfig(tool_choice=tool_pb2.TOOL_CHOICE_FUNCTION, tool_name="get_weather"))
    answer = await client.ask(Question(text="what is the weather in Lima?"))
    assert [call.arguments for call in answer.calls] == ['{"city": "Lima"}']


async def test_the_program_in_the_documentation_runs(make_gateway, addresses):
    page = (Path(__file__).parents[4] / "docs" / "tools.md").read_text()
    program = page.split("```python\n")[1].split("```")[0]
    names = {"__name__": "program"}
    exec(compile(program, "docs/tools.md", "exec"), names)
    gateway = await make_gateway(**addresses)
    assert await names["main"](f"127.0.0.1:{gateway.port}") == "it is sunny in Rome."
