"""An answer that is made again: what was told of it is passed over to the sample, or it is refused."""

from __future__ import annotations

import grpc
import pytest

from services.gateway.conversation.continuation import Continuation
from services.gateway.conversation.told import Told
from services.gateway.events import (
    AudioDelta,
    Event,
    FunctionCallDelta,
    FunctionCallDone,
    ItemCreated,
    StateDecided,
    TextDelta,
    TurnDone,
)
from services.gateway.events.items import Item
from services.gateway.turn.generate import Prompt
from services.rpc.errors import ServiceError

ANSWER = [
    StateDecided("speech", (1.0, 0.0, 0.0)),
    TextDelta("It "),
    TextDelta("is "),
    AudioDelta(bytes(range(10)), 24_000, 0, 2),
    FunctionCallDelta("item", "call", "look", ""),
    FunctionCallDelta("item", "call", "look", '{"x": '),
    TextDelta("red."),
    FunctionCallDelta("item", "call", "look", "1}"),
    FunctionCallDone("item", "call", "look", '{"x": 1}'),
    AudioDelta(bytes(range(10, 16)), 24_000, 5, 9),
    ItemCreated(Item(id="a"), "q"),
    TurnDone("stop"),
]
SAID = ("".join(body.text for body in ANSWER if isinstance(body, TextDelta)), bytes(range(16)), '{"x": 1}')


def continuation(*bodies) -> Continuation:
    told = Told("turn")
    for number, body in enumerate(bodies, 1):
        told.add(Event(body, "turn", sequence=number))
    return Continuation(told, Prompt())


def said(bodies) -> tuple[str, bytes, str]:
    """Text, audio, arguments."""
    text = "".join(body.text for body in bodies if isinstance(body, TextDelta))
    audio = b"".join(body.audio for body in bodies if isinstance(body, AudioDelta))
    return text, audio, "".join(body.arguments for body in bodies if isinstance(body, FunctionCallDelta))


@pytest.mark.parametrize("count", range(len(ANSWER)))
def test_what_was_told_and_what_is_new_are_the_answer(count):
    goes_on = continuation(*ANSWER[:count])
    new = [body for body in map(goes_on.new, ANSWER) if body is not None]
    assert said([*ANSWER[:count], *new]) == SAID and new == ANSWER[count:]
    assert not goes_on.behind
    goes_on.check_end()


def test_pieces_may_be_cut_elsewhere():
    goes_on = continuation(TextDelta("It i"), AudioDelta(bytes(range(6)), 24_000, 0))
    assert goes_on.behind
    assert goes_on.new(TextDelta("It")) is None
    assert goes_on.new(AudioDelta(bytes(range(4)), 24_000, 0)) is None
    assert goes_on.behind
    assert goes_on.new(TextDelta(" is red")) == TextDelta("s red")
    assert goes_on.new(AudioDelta(bytes(range(4, 10)), 24_000, 2, 1)) == AudioDelta(bytes(range(6, 10)), 24_000, 3, 1)
    assert not goes_on.behind


def test_ids_of_tokens_are_told_once_and_in_order():
    pieces = [TextDelta("It", (1,)), TextDelta(" is", (2, 3)), TextDelta(" r\u00e9d", (4, 5, 6)), TextDelta(".", (7,))]
    for count in range(4):
        goes_on = continuation(*pieces[:count])
        assert [body for body in map(goes_on.new, pieces) if body is not None] == pieces[count:]
    assert continuation(*pieces).told.tokens == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize(
    "other",
    [
        TextDelta("He"),
        StateDecided("text"),
        FunctionCallDelta("item", "call", "look", '{"y"'),
    ],
)
def test_another_answer_is_refused(other):
    goes_on = continuation(*ANSWER[:6])
    with pytest.raises(ServiceError, match="could not be continued") as caught:
        goes_on.new(other)
    assert caught.value.code == grpc.StatusCode.ABORTED and caught.value.retry_after > 0


def test_an_answer_of_calls_is_behind_until_they_are_complete():
    calls = [body for body in ANSWER if isinstance(body, FunctionCallDelta | FunctionCallDone)]
    goes_on = continuation(*calls)
    for body in calls:
        assert goes_on.behind
        assert goes_on.new(body) is None
    assert not goes_on.behind
    assert [call.arguments for call in goes_on.told.calls] == ['{"x": 1}']


def test_an_answer_that_ends_before_what_was_told_is_refused():
    goes_on = continuation(*ANSWER[:7])
    goes_on.new(ANSWER[1])
    with pytest.raises(ServiceError, match="could not be continued"):
        goes_on.check_end()
