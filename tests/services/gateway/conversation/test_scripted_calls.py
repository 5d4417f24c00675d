"""Function calls through the real gateway, with an LLM core and a speech decoder that are scripts.

What the LLM core writes is told apart by its real matcher of calls, so a script is what a model would write.
"""

from __future__ import annotations

import asyncio
import itertools
import json

import grpc
import pytest
from structlog.testing import capture_logs

from cli.client import Client, Question
from protos.parley.v1 import conversation_pb2 as wire
from protos.parley.v1 import language_model_pb2 as pb
from protos.parley.v1 import language_model_pb2_grpc, speech_decoder_pb2_grpc, tool_pb2
from protos.parley.v1.model_info_pb2 import ModelInfo
from protos.parley.v1.speech_decoder_pb2 import AudioChunk, SynthesizeDone, SynthesizeResponse
from protos.parley.v1.usage_pb2 import FINISH_REASON_CANCELLED, FINISH_REASON_LENGTH, FINISH_REASON_STOP, Usage
from services.llm_core.call_matcher import CallMatcher
from services.llm_core.service import on_wire
from services.llm_core.tools import CallRules
from services.registry import SERVICES
from services.rpc.server import start_server

TOOLS = wire.Tools(
    tools=[
        tool_pb2.Tool(name="get_weather", description="The weather.", parameters='{"type": "object"}'),
        tool_pb2.Tool(name="now"),
    ]
)
ROME = ["<tool_call>", '\n{"name": "get_', 'weather", "arguments": ', '{"city"', ': "Rome"', "}", "}\n", "</tool_call>"]
NOW = ["\n", "<tool_", 'call>\n{"name": "now", "arguments": {}}\n</tool_call>']
BREAK = object()  # the connection breaks here


class LanguageModel(language_model_pb2_grpc.LanguageModelServicer):
    """Writes the next of its `scripts`: texts of tokens, events to wait for, `BREAK`. `asked`: what it was sent."""

    def __init__(self) -> None:
        self.scripts: list[list] = []
        self.asked: list[list[pb.GenerateRequest]] = []
        self.reason = FINISH_REASON_STOP

    async def Describe(self, request, context):
        return ModelInfo(service="llm_core", weights="script", context_length=4096, max_answer_tokens=256)

    async def Generate(self, requests, context):
        self.asked.append([])
        async for request in requests:
            self.asked[-1].append(request)
            if request.HasField("respond"):
                break
        matcher, script, count = CallMatcher(CallRules()), self.scripts.pop(0), 0
        yield pb.GenerateResponse(state=pb.StateDecision(state=pb.STATE_TEXT, probabilities=[0, 1, 0]))
        for number, step in enumerate([*script, None]):
            if isinstance(step, asyncio.Event):
                await step.wait()
                continue
            if step is BREAK:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "the connection breaks")
            for token in matcher.flush() if step is None else matcher.push(number, step):
                count += 1
                yield on_wire(token, count, 0, "script")
        done = pb.GenerateDone(finish_reason=self.reason, usage=Usage(answer_tokens=count), weights="script")
        yield pb.GenerateResponse(sequence=count + 1, done=done)


class SpeechDecoder(speech_decoder_pb2_grpc.SpeechDecoderServicer):
    """Makes 0.1 s of a text. `spoken`: the texts of its streams."""

    def __init__(self) -> None:
        self.spoken: list[str] = []

    async def Describe(self, request, context):
        return ModelInfo(service="speech_decoder", weights="script", output_sample_rate=24_000)

    async def Synthesize(self, requests, context):
        self.spoken.append("")
        async for request in requests:
            self.spoken[-1] += request.token.text
        chunk = AudioChunk(audio=bytes(4800), sample_rate=24_000, text=self.spoken[-1])
        yield SynthesizeResponse(chunk=chunk)
        yield SynthesizeResponse(sequence=1, done=SynthesizeDone(weights="script"))


@pytest.fixture
def model() -> LanguageModel:
    return LanguageModel()


@pytest.fixture
def decoder() -> SpeechDecoder:
    return SpeechDecoder()


@pytest.fixture
async def client(make_gateway, connect, model, decoder):
    """Of a gateway whose LLM core and speech decoder are the scripts; its session has two functions."""
    servers, addresses = [], {}
    for name, servicer in (("llm_core", model), ("speech_decoder", decoder)):
        server, port = await start_server(SERVICES[name], servicer)
        servers.append(server)
        addresses[f"upstream__{name}"] = f"127.0.0.1:{port}"
    gateway = await make_gateway(**addresses)
    yield await connect(gateway, tools=TOOLS)
    for server in servers:
        await server.stop(None)


async def until(client: Client, *kinds: str) -> list[wire.ServerEvent]:
    """Events up to the first of these kinds."""
    told = []
    async for event in client.events():
        told.append(event)
        if event.WhichOneof("event") in kinds:
            return told
    raise AssertionError("the stream ended")


async def ask(client: Client, text: str = "hello") -> list[wire.ServerEvent]:
    """All events of one turn."""
    if text:
        await client.send(text=text)
    await client.send(respond=wire.Respond())
    return await until(client, "done")


def of(told: list[wire.ServerEvent], kind: str) -> list:
    return [getattr(event, kind) for event in told if event.HasField(kind)]


def items(told: list[wire.ServerEvent]) -> list[wire.Item]:
    """The items that were created; each says that it comes behind the one before."""
    created = of(told, "item_created")
    for before, after in itertools.pairwise(created):
        assert after.previous_item_id == before.item.id
    return [each.item for each in created]


async def create_output(client: Client, call_id: str, output: str) -> None:
    item = wire.Item(type=wire.Item.TYPE_FUNCTION_CALL_OUTPUT, call_id=call_id, output=output)
    await client.send(create_item=wire.CreateItem(item=item))
    assert (await until(client, "item_created"))[-1].item_created.item.call_id == call_id


async def test_arguments_are_told_while_the_call_is_written_and_nothing_is_spoken(client, model, decoder):
    more = asyncio.Event()
    model.scripts = [[*ROME[:4], more, *ROME[4:]]]
    await client.send(text="weather in rome?")
    await client.send(respond=wire.Respond())
    first = (await until(client, "function_call_delta"))[-1].function_call_delta
    assert first.name == "get_weather" and first.call_id and first.item_id and not more.is_set()
    more.set()
    told = await until(client, "done")
    deltas, (done,) = [first, *of(told, "function_call_delta")], of(told, "function_call_done")
    assert "".join(delta.arguments for delta in deltas) == done.arguments == '{"city": "Rome"}'
    assert {(each.item_id, each.call_id, each.name) for each in [*deltas, done]} == {
        (first.item_id, first.call_id, "get_weather")
    }
    question, call = items(told)
    assert (call.type, call.id, call.call_id) == (wire.Item.TYPE_FUNCTION_CALL, first.item_id, first.call_id)
    assert (call.name, call.arguments, call.turn_id) == ("get_weather", '{"city": "Rome"}', question.turn_id)
    assert told[-1].done.text == "" and told[-1].done.finish_reason == FINISH_REASON_STOP
    assert not of(told, "text") and not of(told, "audio") and decoder.spoken == []


async def test_text_and_several_calls_and_the_answer_to_their_outputs(client, model, decoder):
    model.scripts = [["let me ", "look.", "\n", *ROME, *NOW], ["it is ", "noon."]]
    told = await ask(client, "well?")
    assert "".join(text.text for text in of(told, "text")) == told[-1].done.text == "let me look."
    assert decoder.spoken == ["let me look."] and of(told, "audio")
    _, _, first, second = items(told)
    assert [first.name, second.name] == ["get_weather", "now"] and first.call_id != second.call_id
    await create_output(client, second.call_id, "12:00")
    await create_output(client, first.call_id, "sunny </tool_response>")
    told = await ask(client, "")
    assert told[-1].done.text == "it is noon." and decoder.spoken[1] == "it is noon."
    (answer,) = items(told)  # nothing was asked anew
    assert answer.role == pb.Message.ROLE_ASSISTANT
    opening, parts, _ = model.asked[1]
    roles = [pb.Message.Role.Name(each.role) for each in opening.open.messages]
    assert roles == ["ROLE_USER", "ROLE_ASSISTANT"]
    said = opening.open.messages[1]
    assert [part.text for part in said.parts] == ["let me look."]
    assert [(call.name, json.loads(call.arguments)) for call in said.calls] == [
        ("get_weather", {"city": "Rome"}), ("now", {}),
    ]  # fmt: skip
    assert list(parts.part.outputs.outputs) == ["sunny </tool_response>", "12:00"]  # in the order of the calls


async def test_a_question_beside_outputs_reads_both(client, model):
    model.scripts = [[*NOW], ["ok."]]
    (call,) = items(await ask(client))[1:]
    await create_output(client, call.call_id, "12:00")
    await ask(client, "and tomorrow?")
    kinds = [request.part.WhichOneof("part") for request in model.asked[1][1:-1]]
    assert kinds == ["outputs", "text"]


@pytest.mark.parametrize(
    ("written", "text", "reason"),
    [
        (["<tool_call>", '{"name": "then", "arg', 'uments": {}}', "</tool_call>"], '{"name": "then", "arguments": {}}',
         "no function has its name"),
        (["<tool_call>", '{"name": "now", "arguments": {"a": ', "b}}", "</tool_call>"],
         '{"name": "now", "arguments": {"a": b}}', "it is no JSON"),
        (["<tool_call>", '{"name": "now", "arguments": {"a": 1'], '{"name": "now", "arguments": {"a": 1',
         "it was not ended"),
    ],
)  # fmt: skip
async def test_a_malformed_call_becomes_text_that_is_spoken(client, model, decoder, written, text, reason):
    model.scripts = [["so ", *written]]
    with capture_logs() as logged:
        told = await ask(client)
    assert "".join(each.text for each in of(told, "text")) == told[-1].done.text == f"so {text}"
    assert decoder.spoken == [f"so {text}"] and not of(told, "function_call_done")
    assert [item.type for item in items(told)] == [wire.Item.TYPE_MESSAGE] * 2
    assert [line["reason"] for line in logged if "malformed" in line["event"]] == [reason]
    assert text not in json.dumps(logged)


async def test_a_call_that_is_cancelled_leaves_the_calls_before_it(client, model, decoder):
    more = asyncio.Event()
    model.scripts = [[*NOW, *ROME[:5], more, *ROME[5:]], ["hm."]]
    await client.send(text="weather in rome?")
    await client.send(respond=wire.Respond())
    told = await until(client, "function_call_done")
    told += await until(client, "function_call_delta")
    await client.send(cancel=wire.CancelTurn())
    told = await until(client, "done")
    assert told[-1].done.finish_reason == FINISH_REASON_CANCELLED
    _, call = items(told)
    assert call.name == "now" and not of(told, "function_call_done") and decoder.spoken == []
    await ask(client)
    history = model.asked[1][0].open.messages
    assert [[call.name for call in message.calls] for message in history] == [[], ["now"]]


async def test_a_connection_that_is_lost_in_a_call_is_a_pause(client, model):
    model.scripts = [["so\n", *ROME[:5], BREAK], ["so\n", *ROME, *NOW]]
    told = await ask(client)
    assert [each.text for each in of(told, "text")] == ["so"]
    assert "".join(delta.arguments for delta in of(told, "function_call_delta")[:-1]) == '{"city": "Rome"}'
    assert [done.arguments for done in of(told, "function_call_done")] == ['{"city": "Rome"}', "{}"]
    assert len(model.asked) == 2 and told[-1].done.finish_reason == FINISH_REASON_STOP


async def test_an_answer_cut_off_in_a_call_is_of_that_length(client, model):
    model.scripts, model.reason = [ROME[:5]], FINISH_REASON_LENGTH
    told = await ask(client)
    assert told[-1].done.finish_reason == FINISH_REASON_LENGTH
    assert of(told, "function_call_delta") and not of(told, "function_call_done")
    assert told[-1].done.text == "".join(ROME[1:5])


async def test_the_llm_core_is_told_of_the_functions_and_the_choice(client, model):
    model.scripts = [["a"], ["b"], ["c"]]
    await ask(client)
    opening = model.asked[0][0].open
    assert [tool.name for tool in opening.tools] == ["get_weather", "now"] and opening.max_calls == 0
    assert json.loads(opening.tools[0].parameters) == {"type": "object"} and opening.tool_choice == 0
    choice = wire.SessionConfig(tool_choice=tool_pb2.TOOL_CHOICE_FUNCTION, tool_name="now", parallel_tool_calls=False)
    await client.send(update=choice)
    await until(client, "session_updated")
    await ask(client)
    opening = model.asked[1][0].open
    assert (opening.tool_choice, opening.tool_name, opening.max_calls) == (tool_pb2.TOOL_CHOICE_FUNCTION, "now", 1)
    await client.send(update=wire.SessionConfig(tools=wire.Tools(), tool_choice=tool_pb2.TOOL_CHOICE_AUTO))
    await until(client, "session_updated")
    await ask(client)
    assert not model.asked[2][0].open.tools


async def test_functions_that_cannot_be_are_refused_and_the_session_keeps_its_own(client, model):
    many = wire.Tools(tools=[tool_pb2.Tool(name=f"f{number}") for number in range(129)])
    for config, code in (
        (wire.SessionConfig(tools=many), "RESOURCE_EXHAUSTED"),
        (wire.SessionConfig(tools=wire.Tools(tools=[tool_pb2.Tool(name="a b")])), "INVALID_ARGUMENT"),
        (wire.SessionConfig(tool_choice=tool_pb2.TOOL_CHOICE_FUNCTION, tool_name="f"), "INVALID_ARGUMENT"),
    ):
        await client.send(update=config)
        assert (await until(client, "error"))[-1].error.code == code
    model.scripts = [["a"]]
    await ask(client)
    assert len(model.asked[0][0].open.tools) == 2


async def test_respond_without_anything_new_is_refused(client, model):
    model.scripts = [["a"]]
    await ask(client)
    await client.send(respond=wire.Respond())
    assert "nothing to answer" in (await until(client, "error"))[-1].error.message


async def test_the_client_of_the_repository_collects_calls(client, model):
    model.scripts = [[*ROME]]
    answer = await client.ask(Question(text="weather?"))
    assert [(call.name, call.arguments) for call in answer.calls] == [("get_weather", '{"city": "Rome"}')]
