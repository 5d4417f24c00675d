"""Every event survives the event log."""

from __future__ import annotations

import pytest

from services.gateway import events
from services.gateway.events import Event, decode, encode
from services.gateway.events.items import Item, ItemPart
from services.gateway.events.session import SamplingConfig, SessionConfig

ITEM = Item(id="i", role="user", parts=[ItemPart(kind="text", text="caf\u00e9")])
CONFIG = SessionConfig(instructions="be brief", sampling=SamplingConfig(stop=("end",)))
BODIES = [
    events.SessionReady("s", True, 3, 24_000, CONFIG, ("default",)),
    events.SessionUpdated(CONFIG),
    events.Playback("pause"),
    events.SpeechStarted(),
    events.SpeechStopped(),
    events.Transcript("what", final=True),
    events.StateDecided("speech", (0.9, 0.05, 0.05)),
    events.SilenceNoticed(100, 200),
    events.AnswerBegun("item", {"metadata": {"a": "b"}}),
    events.ApiEvent({"type": "error"}),
    events.TextDelta("caf\u00e9"),
    events.FunctionCallDelta("item", "call", "now", "{"),
    events.FunctionCallDone("item", "call", "now", "{}"),
    events.AudioDelta(b"\x00\xff\n", 24_000, 7, 3),
    events.TurnDone("length", "hi", events.Latency(total=1.5), events.Usage(prompt_tokens=3)),
    events.Failed("ABORTED", "no", 0.5),
    events.ItemCreated(ITEM, "before"),
    events.ItemRetrieved(ITEM),
    events.ItemTruncated("i", 9),
    events.ItemDeleted("i"),
]


def test_there_is_an_example_of_each():
    assert {type(body).__name__ for body in BODIES} == set(events.BODIES)


@pytest.mark.parametrize("body", BODIES, ids=lambda body: type(body).__name__)
def test_an_event_survives_the_log(body):
    event = Event(body, "t", "q", sequence=5)
    entry = {name.encode(): value for name, value in encode(event).items()}
    assert decode(5, entry) == event
