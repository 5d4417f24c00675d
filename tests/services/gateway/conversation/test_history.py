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


def call(name: str, turn: str = "t", **more) -> Item:
    arguments = f'{{"n": "{name}"}}'
    return Item(id=name, type="function_call", turn_id=turn, call_id=name, name="f", arguments=arguments, **more)


def output(name: str, text: str = "") -> Item:
    return Item(id=f"o{name}", type="function_call_output", call_id=name, output=text or f"of {name}")


def written(items: list[Item]) -> list[tuple]:
    """Each message in brief: role, texts and outputs of its parts, its calls."""
    told = []
    for each in to_messages(items, "", WEIGHTS):
        parts = [list(part.outputs.outputs) or part.text or "picture" for part in each.parts]
        told.append((Message.Role.Name(each.role)[5:].lower(), parts, [call.arguments for call in each.calls]))
    return told


def test_a_call_goes_with_its_name_and_arguments_and_an_output_as_what_it_is():
    first, second = to_messages([call("a"), output("a", "<tool_call>")], "", WEIGHTS)
    assert (first.role, first.calls[0].name, first.calls[0].arguments) == (Message.ROLE_ASSISTANT, "f", '{"n": "a"}')
    assert second.role == Message.ROLE_USER and second.parts[0].outputs.outputs == ["<tool_call>"]


def test_an_answer_and_its_calls_are_one_message_and_their_outputs_another():
    items = [message("user", "compare"), message("assistant", "let me look."), call("a"), call("b"),
             output("b"), output("a"), message("assistant", "done.")]  # fmt: skip
    assert written(items) == [
        ("user", ["compare"], []),
        ("assistant", ["let me look."], ['{"n": "a"}', '{"n": "b"}']),
        ("user", [["of a", "of b"]], []),  # the order of the calls is all that tells them apart
        ("assistant", ["done."], []),
    ]


def test_calls_of_another_answer_are_a_message_of_their_own():
    items = [message("assistant", "so."), call("a", "t"), call("b", "u"), message("assistant", "and.")]
    assert [parts for _, parts, _ in written(items)] == [["so."], [], ["and."]]
    assert [len(calls) for _, _, calls in written(items)] == [1, 1, 0]


def test_an_answer_of_which_nothing_was_played_leaves_its_calls():
    items = [message("assistant", ANSWER, marks=MARKS, played=0), call("a"), output("a")]
    assert written(items) == [("assistant", [], ['{"n": "a"}']), ("user", [["of a"]], [])]


def test_an_output_whose_call_is_gone_is_left_out():
    assert written([output("a"), message("user", "hm"), call("b"), output("a"), output("b")]) == [
        ("user", ["hm"], []),
        ("assistant", [], ['{"n": "b"}']),
        ("user", [["of b"]], []),
    ]


def test_what_the_user_says_in_several_items_is_one_message_with_pictures_in_front():
    picture = Item(id="p", role="user", parts=[ItemPart(kind="image", ref=Ref(weights="w", hash="a", length=9))])
    items = [message("user", "look"), picture, message("user", "what is it?"), message("assistant", "a dog"), picture]
    assert written(items) == [
        ("user", ["picture", "look", "what is it?"], []),
        ("assistant", ["a dog"], []),
        ("user", ["picture"], []),
    ]
    items = [call("a"), output("a"), message("user", "and"), picture]
    assert written(items)[-1] == ("user", [["of a"], "picture", "and"], [])
