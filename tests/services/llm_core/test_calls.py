"""Answers that call functions, by a model that has learned it, over the wire."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import grpc
import pytest

from parley.checkpoints import Checkpoint
from parley.text.prompt import PromptWriter
from protos.parley.v1 import language_model_pb2 as pb
from protos.parley.v1 import language_model_pb2_grpc as rpcs
from protos.parley.v1 import tool_pb2, usage_pb2
from services.llm_core.service import LlmCoreService
from services.llm_core.settings import LlmCoreSettings
from services.llm_core.tools import read_tools
from services.registry import SERVICES
from services.rpc.server import start_server

PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = tool_pb2.Tool(
    name="get_weather", description="The weather of today.", parameters=json.dumps(PARAMETERS)
)  # as it was trained
ROME = pb.Message(role="ROLE_USER", parts=[pb.Part(text="what is the weather in Rome?")])


class Answer:
    """What came of a request."""

    def __init__(self, responses: list[pb.GenerateResponse]):
        self.tokens = [each.token for each in responses if each.HasField("token")]
        self.done = responses[-1].done
        self.text = "".join(token.text for token in self.tokens if not token.call)
        self.complete = [token.call for token in self.tokens if token.call_done]

    def call(self, number: int = 1) -> str:
        return "".join(token.text for token in self.tokens if token.call == number)


@pytest.fixture(scope="module")
def servicer(calling_checkpoint):
    return LlmCoreService(LlmCoreSettings(checkpoint=calling_checkpoint, threads=1))


@pytest.fixture
async def ask(servicer):
    """`await ask("hello", tools=[…])` → the `Answer` of a running service."""
    await servicer.start()
    server, port = await start_server(SERVICES["llm_core"], servicer)
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
    stub = rpcs.LanguageModelStub(channel)

    async def ask_once(*parts, session="", sampling=None, tools=(WEATHER,), **opening) -> Answer:
        opening = pb.GenerateOpen(
            session_id=session, turn_id="t", tools=tools, sampling=pb.Sampling(**(sampling or {})), **opening
        )
        parts = [pb.Part(text=part) if isinstance(part, str) else part for part in parts]
        requests = [
            pb.GenerateRequest(open=opening),
            *(pb.GenerateRequest(part=part) for part in parts),
            pb.GenerateRequest(respond=pb.GenerateRespond()),
        ]
        for number, request in enumerate(requests):
            request.sequence = number
        return Answer([response async for response in stub.Generate(iter(requests))])

    yield ask_once
    await channel.close()
    await server.stop(0)
    await servicer.stop()


def outputs(*texts: str) -> pb.Part:
    return pb.Part(outputs=tool_pb2.FunctionOutputs(outputs=texts))


def called(*cities: str, text: str = "") -> pb.Message:
    calls = [tool_pb2.FunctionCall(name="get_weather", arguments=json.dumps({"city": city})) for city in cities]
    return pb.Message(role="ROLE_ASSISTANT", parts=[pb.Part(text=text)] if text else [], calls=calls)


def body(city: str) -> str:
    return f'\n{{"name": "get_weather", "arguments": {{"city": "{city}"}}}}\n'


async def test_a_question_is_answered_with_a_call_and_its_output_with_a_sentence(ask):
    for city, sky in (("Rome", "sunny"), ("Oslo", "cloudy"), ("Accra", "sunny"), ("Sofia", "rainy")):
        question = f"what is the weather in {city}?"
        first = await ask(question)
        assert (first.text, first.call(), first.complete) == ("", body(city), [1])
        assert first.done.text == "" and first.done.finish_reason == usage_pb2.FINISH_REASON_STOP
        asked = pb.Message(role="ROLE_USER", parts=[pb.Part(text=question)])
        then = await ask(outputs(sky), messages=[asked, called(city)])
        assert then.text == then.done.text == f"it is {sky} in {city}." and not any(token.call for token in then.tokens)


async def test_an_answer_has_text_and_several_calls(ask):
    answer = await ask("compare Rome and Oslo.")
    assert (answer.text, answer.call(1), answer.call(2)) == ("let me look.", body("Rome"), body("Oslo"))
    assert answer.complete == [1, 2] and answer.done.text == "let me look."
    assert answer.done.usage.answer_tokens == len(answer.tokens)
    asked = pb.Message(role="ROLE_USER", parts=[pb.Part(text="compare Rome and Oslo.")])
    then = await ask(outputs("sunny", "cloudy"), messages=[asked, called("Rome", "Oslo", text="let me look.")])
    assert then.text == "Rome is sunny, Oslo is cloudy."


async def test_the_answer_ends_after_as_many_calls_as_are_wanted(ask):
    answer = await ask("compare Rome and Oslo.", max_calls=1)
    assert answer.complete == [1] and answer.call(2) == ""
    assert answer.done.finish_reason == usage_pb2.FINISH_REASON_STOP


async def test_a_call_can_be_required_or_named(ask, servicer):
    free = await ask("hello")
    assert free.text == "hello, how are you?" and free.complete == []
    required = await ask("hello", tool_choice=tool_pb2.TOOL_CHOICE_REQUIRED)
    assert required.tokens[0].call == 1  # what follows was never learned
    other = tool_pb2.Tool(name="now")
    named = await ask("hello", tools=[WEATHER, other], tool_choice=tool_pb2.TOOL_CHOICE_FUNCTION, tool_name="now")
    assert named.call().startswith('\n{"name": "now", "arguments":')
    forced = servicer._reader.writer.ids(["\n"])
    assert named.tokens[1].id == forced[0] and named.done.usage.answer_tokens == len(named.tokens)
    again = await ask("what is the weather in Lima?", tool_choice=tool_pb2.TOOL_CHOICE_FUNCTION,
                      tool_name="get_weather")  # fmt: skip
    assert again.call() == body("Lima")  # what it would have written itself, by the same tokens
    itself = await ask("what is the weather in Lima?")
    assert [token.id for token in again.tokens] == [token.id for token in itself.tokens]


async def test_a_beginning_that_is_forced_is_computed_in_one_step(ask, servicer, monkeypatch):
    engine, steps = servicer.engine, []
    forward = engine._forward
    monkeypatch.setattr(engine, "_forward", lambda *work: steps.append(work) or forward(*work))
    answer = await ask("what is the weather in Lima?", tool_choice=tool_pb2.TOOL_CHOICE_FUNCTION,
                       tool_name="get_weather")  # fmt: skip
    sampled = sum(bool(decoding) for decoding, _ in steps)
    forced = len(servicer._reader.writer.ids(['\n{"name": "get_weather", "arguments":'])) + 1
    assert forced > 5 and sampled == len(answer.tokens) - forced


async def test_with_none_the_functions_are_not_in_the_prompt(ask):
    with_tools = await ask("hello")
    without = await ask("hello", tools=[])
    none = await ask("hello", tool_choice=tool_pb2.TOOL_CHOICE_NONE)
    assert none.done.usage.prompt_tokens == without.done.usage.prompt_tokens
    assert with_tools.done.usage.prompt_tokens > none.done.usage.prompt_tokens + 50


async def test_the_limit_of_tokens_holds_in_calls_and_in_what_is_forced(ask):
    for choice in (tool_pb2.TOOL_CHOICE_AUTO, tool_pb2.TOOL_CHOICE_REQUIRED):
        for limit in (1, 3, 6):
            answer = await ask("what is the weather in Rome?", tool_choice=choice, sampling={"max_tokens": limit})
            assert answer.done.usage.answer_tokens == limit and answer.complete == []
            assert answer.done.finish_reason == usage_pb2.FINISH_REASON_LENGTH
            assert body("Rome").startswith(answer.call())


async def test_stop_strings_are_looked_for_in_the_text_only(ask):
    stops = {"stop": ["Rome", "city", "</tool_call>", "<tool_call>", "name"]}
    call = await ask("what is the weather in Rome?", sampling=stops)
    assert call.call() == body("Rome") and call.complete == [1]
    text = await ask("compare Rome and Oslo.", sampling={"stop": [" look"]})
    assert text.text == text.done.text == "let me" and text.call() == ""
    assert text.done.finish_reason == usage_pb2.FINISH_REASON_STOP
    held = await ask("compare Rome and Oslo.", sampling={"stop": ["look.\n"]})  # the line feed is not of the text
    assert held.text == "let me look." and held.complete == [1, 2]


async def test_the_session_keeps_the_functions_and_calls_in_its_cache(ask):
    first = await ask("what is the weather in Rome?", session="s")
    then = await ask(outputs("sunny"), session="s", messages=[ROME, called("Rome")])
    read = first.done.usage.prompt_tokens + first.done.usage.answer_tokens
    assert then.done.usage.cached_tokens >= read - 1
    assert then.text == "it is sunny in Rome."


async def test_what_is_left_out_of_a_long_history_leaves_no_output_without_its_call(ask, servicer):
    talk = [ROME, called("Rome"), pb.Message(role="ROLE_USER", parts=[outputs("sunny")]),
            pb.Message(role="ROLE_ASSISTANT", parts=[pb.Part(text="it is sunny in Rome.")])]  # fmt: skip
    lengths = []
    for most in range(1, 90):
        answer = await ask("hello", messages=talk, max_history_tokens=most, sampling={"max_tokens": 1})
        lengths.append(answer.done.dropped_messages)
    assert set(lengths) == {4, 0}  # all or nothing: the middle has no question
    open_call = await ask(outputs("sunny"), messages=[*talk, ROME, called("Rome")], max_history_tokens=1)
    assert open_call.done.dropped_messages == 4 and open_call.text == "it is sunny in Rome."


@pytest.mark.parametrize(
    ("opening", "complaint"),
    [
        ({"tools": [], "tool_choice": 2}, "asks for a call of 'a function'; the tools are: "),
        ({"tool_choice": 3, "tool_name": "now"}, "asks for a call of 'now'; the tools are: get_weather"),
        ({"tool_choice": 9}, "tool_choice 9 is unknown; use one of TOOL_CHOICE_AUTO"),
        ({"max_calls": -1}, "max_calls is -1"),
        ({"beginning": [5]}, "an answer that may call functions cannot be given its beginning"),
        ({"tools": [], "beginning": [-1]}, "the beginning holds an id that is no token"),
        ({"tools": [tool_pb2.Tool(name="f", parameters="[]")]}, "the parameters of tool 'f' are no JSON object"),
        (
            {"messages": [pb.Message(role="ROLE_ASSISTANT", calls=[tool_pb2.FunctionCall(name="f", arguments="x")])]},
            "message 0: the arguments of a call of 'f' are no JSON object",
        ),
        (
            {"messages": [pb.Message(role="ROLE_USER", calls=[tool_pb2.FunctionCall(name="f", arguments="{}")])]},
            "message 0: only answers make calls",
        ),
    ],
)
async def test_what_a_request_cannot_mean_is_refused(ask, opening, complaint):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ask("hello", **opening)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT and complaint in caught.value.details()


def test_a_model_that_cannot_write_calls_refuses_functions():
    nano = Checkpoint.open(Path(__file__).parents[3] / "checkpoints" / "nano")
    writer = PromptWriter.of(nano.config.language, nano.tokenizer())
    with pytest.raises(ValueError, match="this model cannot call functions: its tokenizer has no way to write a call"):
        read_tools(pb.GenerateOpen(tools=[WEATHER]), writer)
    assert read_tools(pb.GenerateOpen(tools=[WEATHER], tool_choice=tool_pb2.TOOL_CHOICE_NONE), writer) == ([], None)


async def test_requests_with_and_without_functions_run_side_by_side(ask):
    answers = await asyncio.gather(
        ask("what is the weather in Oslo?", session="a"),
        ask("what is the weather in Oslo?", session="b", tool_choice=tool_pb2.TOOL_CHOICE_REQUIRED),
        ask("hello", session="c"),
    )
    assert [answer.call() for answer in answers] == [body("Oslo"), body("Oslo"), ""]
    assert answers[2].text == "hello, how are you?"
