"""What a session remembers: cut at what was heard, within the model's context."""

from __future__ import annotations

import pytest

from protos.parley.v1.language_model_pb2 import Message
from protos.parley.v1.tensor_pb2 import Tensor
from services.gateway.history import KeptMessage, KeptPart, heard_text, newest_within, to_wire, with_heard

ANSWER = "the circle is red. it is at the top left."
MARKS = [(1000, 18), (3000, len(ANSWER))]


@pytest.mark.parametrize(
    ("samples", "heard"),
    [
        (None, ANSWER),
        (0, ""),
        (500, "the"),  # half of the first clause, whole words only
        (1000, "the circle is red."),
        (2000, "the circle is red. it is at"),
        (3000, ANSWER),
        (9999, ANSWER),
    ],
)
def test_an_answer_is_cut_where_playing_stopped(samples, heard):
    assert heard_text(ANSWER, MARKS, samples) == heard


def test_text_that_was_never_spoken_is_not_heard():
    assert heard_text("one two three", [(100, 3)], 100) == "one"


def kept(role, text, turn_id="t", **more):
    return KeptMessage(role=role, turn_id=turn_id, parts=[KeptPart(kind="text", text=text)], **more)


def test_a_message_survives_its_json():
    message = kept("assistant", ANSWER, marks=MARKS, heard=0)
    assert KeptMessage.model_validate_json(message.to_json()) == message


def test_later_reports_of_what_was_heard_win():
    messages = [kept("user", "what is it?"), kept("assistant", ANSWER, marks=MARKS)]
    _, answer = with_heard(messages, {"t": 1000})
    assert answer.heard == 1000
    wire = to_wire([messages[0], answer], "", {})
    assert wire[1].parts[0].text == "the circle is red."


def test_an_answer_of_which_nothing_was_heard_is_left_out():
    messages = [kept("user", "what is it?"), kept("assistant", ANSWER, marks=MARKS, heard=0)]
    assert [message.role for message in to_wire(messages, "be brief", {})] == [Message.ROLE_SYSTEM, Message.ROLE_USER]


def test_media_come_back_as_vectors_or_as_what_was_heard():
    tensor = Tensor(dtype="float32", shape=[1, 2], data=bytes(8))
    parts = [
        KeptPart(kind="image", hash="a", vectors=9),
        KeptPart(kind="image", hash="gone", vectors=9),
        KeptPart(kind="speech", hash="b", text="what is it", vectors=5),
        KeptPart(kind="speech", hash="gone", text="and this", vectors=5),
    ]
    data = tensor.SerializeToString()
    (message,) = to_wire([KeptMessage(role="user", turn_id="t", parts=parts)], "", {"a": data, "b": data})
    assert [part.WhichOneof("part") for part in message.parts] == ["image", "speech", "text"]
    assert message.parts[2].text == "and this"


def test_old_messages_stay_out_of_a_full_context_and_a_question_comes_first():
    messages = [
        kept("user", "x" * 300),
        kept("assistant", "y" * 30),
        kept("user", "z" * 30),
        kept("assistant", "w" * 30),
    ]
    assert [m.parts[0].text[0] for m in newest_within(messages, 60)] == ["z", "w"]
    assert newest_within(messages, 1000) == messages
    assert newest_within(messages, 0) == []
