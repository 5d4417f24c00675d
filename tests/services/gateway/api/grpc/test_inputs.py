"""Each event of a client is one call of the conversation, within the guard of an input."""

from __future__ import annotations

import contextlib

import pytest

from protos.parley.v1 import conversation_pb2 as pb
from services.gateway.api.grpc.inputs import HANDLERS, handle
from services.gateway.events.items import Item


class Conversation:
    """Records its calls; `input` keeps what the handling raised."""

    def __init__(self) -> None:
        self.guards, self.calls, self.error = [], [], None

    @contextlib.contextmanager
    def input(self, question_id: str, part: bool = False, end: bool = False):
        self.guards.append((question_id, part, end))
        try:
            yield
        except ValueError as error:
            self.error = error

    def __getattr__(self, name: str):
        async def call(*arguments) -> None:
            self.calls.append((name, *arguments))

        return call


async def nothing() -> None:
    """No limit of requests."""


PART, END, NEITHER = (True, False), (False, True), (False, False)
CALLS = [  # event of a client, the guard's part and end, the call
    ({"audio": b"ab"}, PART, ("add_audio", b"ab")),
    ({"image": b"ab"}, PART, ("add_image", "image", b"ab")),
    ({"video": b"ab"}, PART, ("add_image", "video", b"ab")),
    ({"frame": b"ab"}, PART, ("add_frame", b"ab")),
    ({"text": "hi"}, PART, ("add_text", "hi")),
    ({"end_of_audio": pb.EndOfAudio()}, END, ("end_audio",)),
    ({"respond": pb.Respond()}, END, ("respond",)),
    ({"cancel": pb.CancelTurn()}, NEITHER, ("cancel",)),
    ({"played": pb.Played(turn_id="t", samples=7)}, NEITHER, ("set_played", "t", 7)),
    ({"update": pb.SessionConfig(text_only=True)}, NEITHER, ("update", {"text_only": True})),
    (
        {"create_item": pb.CreateItem(item=pb.Item(id="i", type=pb.Item.TYPE_MESSAGE), previous_item_id="h")},
        NEITHER,
        ("create_item", Item(id="i"), "h"),
    ),
    ({"retrieve_item": pb.RetrieveItem(item_id="i")}, NEITHER, ("retrieve_item", "i")),
    ({"truncate_item": pb.TruncateItem(item_id="i", samples=7)}, NEITHER, ("truncate_item", "i", 7)),
    ({"delete_item": pb.DeleteItem(item_id="i")}, NEITHER, ("delete_item", "i")),
]


def test_there_is_a_handler_and_an_example_of_each():
    fields = {field.name for field in pb.ClientEvent.DESCRIPTOR.oneofs_by_name["event"].fields}
    assert set(HANDLERS) == fields - {"open"} == {name for event, _, _ in CALLS for name in event}


@pytest.mark.parametrize(("event", "guard", "call"), CALLS, ids=[next(iter(event)) for event, _, _ in CALLS])
async def test_an_event_is_one_call(event, guard, call):
    conversation = Conversation()
    await handle(conversation, pb.ClientEvent(question_id="q", **event), nothing)
    assert conversation.calls == [call] and conversation.guards == [("q", *guard)] and conversation.error is None


@pytest.mark.parametrize(
    ("event", "complaint"),
    [
        ({}, "the event is empty"),
        ({"open": pb.OpenSession()}, "open comes first, and once"),
        ({"update": pb.SessionConfig(turn_detection=7)}, "turn_detection 7"),
        ({"create_item": pb.CreateItem()}, "item type 0"),
    ],
)
async def test_what_cannot_be_read_is_raised_within_the_guard(event, complaint):
    conversation = Conversation()
    await handle(conversation, pb.ClientEvent(question_id="q", **event), nothing)
    assert complaint in str(conversation.error) and not conversation.calls
