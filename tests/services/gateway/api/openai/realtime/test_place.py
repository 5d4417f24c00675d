"""Where a client is, as the address says: what is asked of the conversation, and which server events are left out."""

from __future__ import annotations

import pytest

from services.gateway.api.openai.errors import ApiError
from services.gateway.api.openai.realtime.place import Place
from services.gateway.events import Event, SessionReady, TextDelta
from services.gateway.events.session import SessionConfig


def at(last_event_id: str) -> Place:
    return Place.of({"parley_session_id": "s", "parley_last_event_id": last_event_id})


def wire_events(sequence: int, count: int) -> list[dict]:
    return [{"event_id": f"event_{sequence}_{left}"} for left in reversed(range(count))]


@pytest.mark.parametrize(
    ("query", "resumable", "session_id", "after"),
    [
        ({"model": "parley"}, False, "", None),
        ({"parley_session_id": ""}, True, "", None),
        ({"parley_session_id": "s"}, True, "s", None),
        ({"parley_session_id": "s", "parley_last_event_id": ""}, True, "s", None),
        ({"parley_session_id": "s", "parley_last_event_id": "event_41_0"}, True, "s", 41),
        ({"parley_session_id": "s", "parley_last_event_id": "event_41_2"}, True, "s", 40),
    ],
)
def test_what_the_conversation_is_asked(query, resumable, session_id, after):
    place = Place.of(query)
    assert (place.resumable, place.session_id, place.after) == (resumable, session_id, after)


@pytest.mark.parametrize(
    "last_event_id", ["41", "event_41", "event_-1_0", "event_end", "event_1_0x", "event_" + "9" * 20]
)
def test_what_is_no_place_is_refused(last_event_id):
    with pytest.raises(ApiError, match="event_41_0") as caught:
        at(last_event_id)
    assert caught.value.param == "parley_last_event_id"


def test_only_what_the_client_has_not_had_is_sent():
    place = at("event_41_2")
    assert place.new(Event(TextDelta("a"), sequence=41, logged=True), wire_events(41, 4)) == wire_events(41, 2)
    assert place.new(Event(TextDelta("a"), sequence=42, logged=True), wire_events(42, 2)) == wire_events(42, 2)
    assert place.new(Event(TextDelta("a"), sequence=40, logged=True, repeated=True), wire_events(40, 2)) == []


def test_the_session_has_the_place_of_the_client():
    ready = Event(SessionReady("s", True, 0, 24_000, SessionConfig()), sequence=40, logged=True)
    assert at("event_41_2").new(ready, wire_events(40, 1)) == [{"event_id": "event_41_2"}]
    first = Event(ready.body, sequence=1)
    assert Place.of({"parley_session_id": ""}).new(first, wire_events(1, 1)) == wire_events(1, 1)
