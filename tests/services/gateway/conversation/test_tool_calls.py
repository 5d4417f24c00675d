"""Function calls in an answer: passed on as they come, and text where they are malformed."""

from __future__ import annotations

import random

import pytest
from structlog.testing import capture_logs

from protos.parley.v1.language_model_pb2 import Token
from services.gateway.conversation.tool_calls import CallReader, call_item
from services.gateway.events import FunctionCallDelta, FunctionCallDone
from services.gateway.events.items import Item

ARGUMENTS = '{"city": "Röm \\"x\\" }", "days": [1, {"a": null}], "n": -1.5e3}'
CALL = f'\n{{"name": "get_weather", "arguments": {ARGUMENTS}}}\n'


def tokens(pieces: list[str], call: int = 1, done: bool = True) -> list[Token]:
    """As the LLM core sends a call: the tags' tokens have no text."""
    middle = [Token(id=number, text=piece, call=call) for number, piece in enumerate(pieces, 1)]
    return [Token(id=90, call=call), *middle, *([Token(id=91, call=call, call_done=True)] if done else [])]


def cuts(text: str, count: int = 100):
    yield list(text)
    yield [text]
    generator = random.Random(0)
    for _ in range(count):
        places = sorted(generator.choices(range(len(text) + 1), k=generator.randint(1, 12)))
        yield [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]


def read(*answer: Token) -> list:
    reader = CallReader("t", {"get_weather", "now"})
    return [piece for token in answer for piece in reader.read(token)] + list(reader.finish())


def words(pieces: list) -> str:
    return "".join(piece.text for piece in pieces if isinstance(piece, Token))


def test_the_arguments_are_passed_on_whole_however_they_are_cut():
    for pieces in cuts(CALL):
        *deltas, done = read(*tokens(pieces))
        assert all(isinstance(delta, FunctionCallDelta) for delta in deltas)
        assert "".join(delta.arguments for delta in deltas) == done.arguments == ARGUMENTS
        ids = ("item_t_c1", "call_t_1", "get_weather")
        assert {(each.item_id, each.call_id, each.name) for each in [*deltas, done]} == {ids}


def test_the_arguments_are_passed_on_as_they_come():
    reader = CallReader("t", {"now"})
    pieces = ["", '\n{"name": "no', 'w", "argu', 'ments":', " ", '{"a"', ": 1", "}", "}\n"]
    told = [[piece.arguments for piece in reader.read(Token(id=1, text=text, call=1))] for text in pieces]
    assert told == [[], [], [], [], [], ['{"a"'], [": 1"], ["}"], []]
    assert list(reader.read(Token(id=1, call=1, call_done=True))) == [
        FunctionCallDone("item_t_c1", "call_t_1", "now", '{"a": 1}')
    ]


def test_several_calls_and_text_come_in_their_order():
    first, second = tokens([CALL]), tokens(['{"name": "now"}'], call=2)
    pieces = read(Token(id=5, text="so"), *first, Token(id=6, text="and"), *second)
    assert [type(piece).__name__ for piece in pieces] == [
        "Token", "FunctionCallDelta", "FunctionCallDone", "Token", "FunctionCallDelta", "FunctionCallDone",
    ]  # fmt: skip
    assert words(pieces) == "soand" and pieces[-1] == FunctionCallDone("item_t_c2", "call_t_2", "now", "{}")


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        ('{"arguments": {"a": "é"}, "name": "now"}', '{"a": "é"}'),
        ('{"name": "now", "id": 3, "arguments": {}}', "{}"),
        ('{"name": "now", "arguments": {}, "id": 3}', "{}"),
        ('{"name": "n\\u006fw", "arguments": { }}', "{ }"),
    ],
)
def test_a_call_in_another_order_is_a_call(call, arguments):
    for pieces in cuts(call):
        *deltas, done = read(*tokens(pieces))
        assert (done.name, done.arguments) == ("now", arguments)
        assert "".join(delta.arguments for delta in deltas) == arguments


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ('{"name": "now", "arguments": {"city": Rome}}', "it is no JSON"),
        ('{"name": "now", "arguments": {"n": NaN}}', "it is no JSON"),
        ('{"name": "now", "arguments": {}', "it is no JSON"),
        ('{"name": "now", "arguments": {}}}', "it is no JSON"),
        ("", "it is no JSON"),
        ("now", "it is no JSON"),
        ('["now"]', "it is no JSON object"),
        ('{"name": "then", "arguments": {}}', "no function has its name"),
        ('{"name": "", "arguments": {}}', "no function has its name"),
        ('{"arguments": {}}', "it has no name"),
        ('{"name": 3, "arguments": {}}', "it has no name"),
        ('{"name": "now", "arguments": [1]}', "its arguments are no object"),
        ('{"name": "now", "arguments": "{}"}', "its arguments are no object"),
        ('{"name": "now", "arguments": {"a": 1}, "arguments": {"a": 2}}', "it has a name or arguments twice"),
        ('{"name": "now", "arguments": {}, "name": "get_weather"}', "it has a name or arguments twice"),
        ('{"name": "now", "arguments": ' + '{"a":' * 300, "it is no JSON"),
    ],
)
def test_a_malformed_call_is_text_and_the_log_says_why(call, reason):
    for pieces in cuts(call, 20):
        with capture_logs() as logged:
            told = read(Token(id=7, text="so "), *tokens(pieces), Token(id=8, text=" end"))
        assert words(told) == f"so {call} end"
        assert not any(isinstance(piece, FunctionCallDone) for piece in told)
        (line,) = logged
        assert line["reason"] == reason and set(line) == {"event", "reason", "log_level"}


def test_a_call_that_does_not_end_is_text():
    told = read(*tokens([CALL[:-4]], done=False))
    assert words(told) == CALL[:-4] and isinstance(told[0], FunctionCallDelta)
    told = read(*tokens([CALL[:-4]], done=False), *tokens([CALL], call=2))
    assert words(told) == CALL[:-4] and isinstance(told[-1], FunctionCallDone)


def test_what_is_malformed_is_no_call_from_there_on():
    reader = CallReader("t", {"now"})
    told = [words(list(reader.read(token))) for token in tokens(['{"name": "then"', ', "arguments": ', "{", "}}"])]
    assert told == ["", "", "", '{"name": "then", "arguments": {', "}}", ""]


def test_the_item_of_a_call():
    done = FunctionCallDone("item_t_c1", "call_t_1", "now", "{}")
    item = Item(id="item_t_c1", type="function_call", turn_id="t", call_id="call_t_1", name="now", arguments="{}")
    assert call_item("t", done) == item
