"""Functions over the OpenAI API: the official client, the real services, and a model that has learned to call one."""

from __future__ import annotations

import json
from pathlib import Path

import openai
import pytest

from services.registry import SERVICES

FUNCTION = {
    "name": "get_weather",
    "description": "The weather of today.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}  # as it was trained
TOOL = {"type": "function", "function": FUNCTION}
COMPARE = [{"role": "user", "content": "compare Rome and Oslo."}]


@pytest.fixture(scope="module")
def addresses(calling_checkpoint, services):
    """Of the four services with the model that calls functions, as settings of a gateway."""
    for name in SERVICES:
        services.start(name, f"calling {name}", checkpoint=calling_checkpoint)
    yield {f"upstream__{name}": f"127.0.0.1:{services.ports[f'calling {name}']}" for name in SERVICES}
    for name in SERVICES:
        services.kill(f"calling {name}")


@pytest.fixture
async def gateway(make_gateway, addresses):
    return await make_gateway(**addresses)


async def complete(client, messages, **more):
    more = {"model": "parley", "tools": [TOOL], "max_completion_tokens": 80} | more
    return await client.chat.completions.create(messages=messages, **more)


async def test_a_chat_calls_and_reads_what_it_returned(client, conforms):
    answer = await complete(client, COMPARE)
    (choice,) = answer.choices
    conforms(json.loads(answer.model_dump_json(exclude_unset=True)), "CreateChatCompletionResponse")
    assert choice.finish_reason == "tool_calls" and choice.message.content == "let me look."
    calls = choice.message.tool_calls
    assert [(call.type, call.function.name) for call in calls] == [("function", "get_weather")] * 2
    assert [json.loads(call.function.arguments)["city"] for call in calls] == ["Rome", "Oslo"]
    outputs = [{"role": "tool", "tool_call_id": calls[i].id, "content": ("sunny", "cloudy")[i]} for i in (1, 0)]
    then = await complete(client, [*COMPARE, choice.message.model_dump(exclude_unset=True), *outputs])
    assert then.choices[0].message.content == "Rome is sunny, Oslo is cloudy."
    assert then.choices[0].finish_reason == "stop" and not then.choices[0].message.tool_calls
    assert then.usage.prompt_tokens_details.cached_tokens > 100


async def test_a_stream_has_the_same_calls(client):
    arguments, finish, text = {}, "", ""
    async for chunk in await complete(client, COMPARE, stream=True):
        (choice,) = chunk.choices
        text += choice.delta.content or ""
        finish = choice.finish_reason or finish
        for call in choice.delta.tool_calls or ():
            known = arguments.setdefault(call.index, {"id": call.id, "name": call.function.name, "pieces": []})
            known["pieces"].append(call.function.arguments)
    assert text == "let me look." and finish == "tool_calls" and list(arguments) == [0, 1]
    assert all(call["id"] and call["name"] == "get_weather" and len(call["pieces"]) > 2 for call in arguments.values())
    assert ["".join(call["pieces"]) for call in arguments.values()] == ['{"city": "Rome"}', '{"city": "Oslo"}']


async def test_how_a_chat_may_call_is_its_callers_choice(client):
    lima = [{"role": "user", "content": "what is the weather in Lima?"}]
    named = {"type": "function", "function": {"name": "get_weather"}}
    for choice in (named, "required", "auto"):
        answer = await complete(client, lima, tool_choice=choice)
        assert [call.function.arguments for call in answer.choices[0].message.tool_calls] == ['{"city": "Lima"}']
    one = await complete(client, COMPARE, parallel_tool_calls=False)
    assert len(one.choices[0].message.tool_calls) == 1
    none = await complete(client, lima, tool_choice="none", max_completion_tokens=1)
    assert not none.choices[0].message.tool_calls
    many = [TOOL, {"type": "function", "function": {"name": "f", "description": "x" * 20_000}}]
    with pytest.raises(openai.APIStatusError, match="above the limit of 16000"):
        await complete(client, lima, tools=many)


async def test_a_spoken_chat_says_its_text_and_not_its_calls(client):
    answer = await complete(client, COMPARE, modalities=["text", "audio"], audio={"voice": "alloy", "format": "wav"})
    message = answer.choices[0].message
    assert message.audio.transcript == "let me look." and len(message.tool_calls) == 2
    lima = [{"role": "user", "content": "what is the weather in Lima?"}]
    answer = await complete(client, lima, modalities=["text", "audio"], audio={"voice": "alloy", "format": "wav"})
    assert answer.choices[0].message.audio is None and len(answer.choices[0].message.tool_calls) == 1


async def test_a_model_that_cannot_write_calls_refuses_them(services, make_gateway):
    nano = Path(__file__).parents[5] / "checkpoints" / "nano"
    services.start("llm_core", "nano", checkpoint=nano)
    gateway = await make_gateway(upstream__llm_core=f"127.0.0.1:{services.ports['nano']}")
    url = f"http://127.0.0.1:{gateway.http_port}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
        with pytest.raises(openai.BadRequestError, match="cannot call functions: its tokenizer has no way to write"):
            await complete(client, COMPARE)
        assert (await complete(client, COMPARE, tool_choice="none")).choices[0].message.content is not None
    services.kill("nano")


async def answer_of(connection) -> tuple[dict, list]:
    """The response that `response.done` tells of, and all events before."""
    events = []
    async for event in connection:
        assert event.type != "error", event
        events.append(event)
        if event.type == "response.done":
            return event.response, events


@pytest.mark.parametrize("modality", ["text", "audio"])
async def test_a_realtime_session_calls_and_reads_what_it_returned(client, modality):
    async with client.realtime.connect(model="parley") as connection:
        session = {
            "type": "realtime",
            "output_modalities": [modality],
            "tools": [{"type": "function", **FUNCTION}],
            "max_output_tokens": 80,
        }
        await connection.session.update(session=session)
        question = {"type": "input_text", "text": "compare Rome and Oslo."}
        await connection.conversation.item.create(item={"type": "message", "role": "user", "content": [question]})
        await connection.response.create()
        response, events = await answer_of(connection)
        message, *calls = response.output
        assert response.status == "completed" and message.type == "message"
        said = message.content[0]
        assert (said.text if modality == "text" else said.transcript) == "let me look."
        assert [json.loads(call.arguments)["city"] for call in calls] == ["Rome", "Oslo"]
        for call in calls:
            pieces = [e.delta for e in events if e.type == "response.function_call_arguments.delta"
                      and e.call_id == call.call_id]  # fmt: skip
            assert "".join(pieces) == call.arguments and len(pieces) > 2
        added = [event.item.id for event in events if event.type == "conversation.item.added"]
        assert added[-3:] == [message.id, *(call.id for call in calls)]
        for call, sky in zip(calls, ("sunny", "cloudy"), strict=True):
            output = {"type": "function_call_output", "call_id": call.call_id, "output": sky}
            await connection.conversation.item.create(item=output)
        await connection.response.create()
        response, _ = await answer_of(connection)
        (message,) = response.output
        said = message.content[0]
        assert (said.text if modality == "text" else said.transcript) == "Rome is sunny, Oslo is cloudy."


async def test_a_realtime_response_may_have_tools_of_its_own(client):
    async with client.realtime.connect(model="parley") as connection:
        await connection.session.update(session={"type": "realtime", "output_modalities": ["text"]})
        question = {"type": "input_text", "text": "what is the weather in Lima?"}
        item = {"type": "message", "role": "user", "content": [question]}
        tools = {
            "tools": [{"type": "function", **FUNCTION}],
            "tool_choice": {"type": "function", "name": "get_weather"},
        }
        await connection.response.create(response={"conversation": "none", "input": [item], **tools})
        response, _ = await answer_of(connection)
        (call,) = response.output
        assert (call.type, call.status, call.arguments) == ("function_call", "completed", '{"city": "Lima"}')
