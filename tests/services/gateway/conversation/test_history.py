"""Items of a session as the language model is given them again."""

from __future__ import annotations

from protos.parley.v1.language_model_pb2 import Message
from services.gateway.conversation.history import to_messages
from services.gateway.events.items import Item, ItemPart, Ref

ANSWER = "the circle is red. it is at the top left."
MARKS = [(1000, 18), (3000, len(ANSWER))]
WEIGHTS = {"w"}


def message(role: str, text: str, **more) -> Item:
    return Item(id=f"{role}-{text[:3]}", role=role, turn_id="t", parts=[ItemPart(kind="text", text=text)], **more)


def test_an_answer_ends_where_playing_stopped():
    items = [message("user", "what is it?"), message("assistant", ANSWER, marks=MARKS, played=1000)]
    assert to_messages(items, "", WEIGHTS)[1].parts[0].text == "the circle is red."


def test_an_answer_of_which_nothing_was_played_is_left_out():
    items = [message("user", "what is it?"), message("assistant", ANSWER, marks=MARKS, played=0)]
    roles = [each.role for each in to_messages(items, "be brief", WEIGHTS)]
    assert roles == [Message.ROLE_SYSTEM, Message.ROLE_USER]


def test_media_go_by_reference_and_those_of_other_weights_as_text_or_not_at_all():
    parts = [
        ItemPart(kind="image", ref=Ref(weights="w", hash="a", length=9)),
        ItemPart(kind="image", ref=Ref(weights="old", hash="b", length=9)),
        ItemPart(kind="speech", ref=Ref(weights="w", hash="c", length=5), text="what is it"),
        ItemPart(kind="speech", ref=Ref(weights="old", hash="d", length=5), text="and this"),
    ]
    (only,) = to_messages([Item(id="q", role="user", parts=parts)], "", WEIGHTS)
    assert [part.WhichOneof("part") for part in only.parts] == ["image", "utterance", "text"]
    assert (only.parts[0].image.hash, only.parts[0].image.length) == ("a", 9)
    assert (only.parts[1].utterance.hash, only.parts[1].fallback) == ("c", "what is it")
    assert only.parts[2].text == "and this"


def test_a_call_and_its_output_read_as_in_qwens_chat_template():
    items = [
        Item(id="1", type="function_call", call_id="c", name="weather", arguments='{"city": "Rome"}'),
        Item(id="2", type="function_call_output", call_id="c", output="sunny"),
    ]
    call, output = to_messages(items, "", WEIGHTS)
    assert call.role == Message.ROLE_ASSISTANT and output.role == Message.ROLE_USER
    assert call.parts[0].text == '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>'
    assert output.parts[0].text == "<tool_response>\nsunny\n</tool_response>"
