"""What a client was told of a turn, put together: small, complete, and without its last events what it was before."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from services.gateway.conversation.told import Told
from services.gateway.events import (
    AudioDelta,
    Event,
    FunctionCallDelta,
    FunctionCallDone,
    ItemCreated,
    SpeechStarted,
    StateDecided,
    TextDelta,
    Transcript,
    TurnDone,
)
from services.gateway.events.items import Item

EVENTS = [
    SpeechStarted(),
    Transcript("what"),
    Transcript("what colour", final=True),
    StateDecided("speech", (0.9, 0.05, 0.05)),
    TextDelta("It is "),
    AudioDelta(bytes(200), 24_000, 0, 3),
    TextDelta("r\u00e9d."),
    FunctionCallDelta("item_a", "call_a", "look", ""),
    FunctionCallDelta("item_b", "call_b", "look", '{"x"'),
    AudioDelta(bytes(100), 24_000, 100, 10),
    FunctionCallDelta("item_b", "call_b", "look", ": 1}"),
    FunctionCallDone("item_b", "call_b", "look", '{"x": 1}'),
    ItemCreated(Item(id="q")),
    ItemCreated(Item(id="a"), "q"),
    TurnDone("stop"),
]


def told(count: int) -> Told:
    turn = Told("turn")
    for number, body in enumerate(EVENTS[:count], 7):
        turn.add(Event(body, "turn", "question", number))
    return turn


def test_the_pieces_of_a_turn_are_put_together():
    began = time.time()
    turn = told(11)
    assert (turn.turn_id, turn.question_id, turn.since, turn.over) == ("turn", "question", 7, False)
    assert (turn.state, turn.text, turn.samples, turn.sample_rate) == ("speech", "It is r\u00e9d.", 150, 24_000)
    assert turn.marks == [(100, 3), (150, 10)] and began <= turn.first_audio <= time.time()
    assert list(turn.bodies.values()) == [
        SpeechStarted(),
        Transcript("what colour", final=True),
        StateDecided("speech", (0.9, 0.05, 0.05)),
        TextDelta("It is r\u00e9d."),
        AudioDelta(b"", 24_000, 150, 10),
        FunctionCallDelta("item_a", "call_a", "look", ""),
        FunctionCallDelta("item_b", "call_b", "look", '{"x": 1}'),
    ]
    assert told(len(EVENTS)).over
    empty = Told("turn")
    assert (empty.state, empty.text, empty.samples, empty.sample_rate, empty.since) == ("", "", 0, 0, 0)


@pytest.mark.parametrize("count", [0, 1, 5, len(EVENTS)])
def test_it_survives_redis(count):
    turn = told(count)
    assert Told.from_json("turn", turn.to_json()) == turn


@pytest.mark.parametrize("count", range(len(EVENTS) + 1))
def test_without_its_last_events_it_is_what_it_was(count):
    def known(bodies) -> list:
        """All but how much of the text is spoken."""
        return [replace(body, spoken=0) if isinstance(body, AudioDelta) else body for body in bodies]

    assert known(told(len(EVENTS)).before(EVENTS[count:])) == known(told(count).bodies.values())
