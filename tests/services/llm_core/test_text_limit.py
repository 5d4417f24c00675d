"""How much text may come, before it is tokenized."""

from __future__ import annotations

import grpc
import pytest

from protos.parley.v1 import language_model_pb2 as pb
from protos.parley.v1 import tool_pb2
from services.llm_core.text_limit import BYTES_A_TOKEN, TextLimit, newest_within
from services.rpc.errors import ServiceError


def message(role: str, text: str = "", **fields) -> pb.Message:
    return pb.Message(role=f"ROLE_{role.upper()}", parts=[pb.Part(text=text)] if text else [], **fields)


def said(messages: list[pb.Message]) -> list[str]:
    return ["".join(part.text for part in each.parts)[:6] for each in messages]


def test_text_that_cannot_fit_is_refused_by_its_size():
    limit = TextLimit(100)
    limit.add(100 * BYTES_A_TOKEN - 1)
    limit.add(1)
    with pytest.raises(ServiceError, match="16 bytes of text for each of the 100 tokens") as caught:
        limit.add(1)
    assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_old_messages_are_left_out_by_their_size_and_the_system_stays():
    large = "large " * (20 * BYTES_A_TOKEN)
    messages = [
        message("system", "system"),
        message("user", "first"),
        message("assistant", large),
        message("user", "b"),
    ]
    assert said(newest_within(messages, 20)) == ["system", "b"]
    assert said(newest_within(messages, 1000)) == ["system", "first", "large ", "b"]
    assert newest_within(messages, 0) == messages and newest_within([], 5) == []
    assert said(newest_within(messages[:3], 20)) == ["system"]


def test_the_question_that_calls_belong_to_is_kept_however_large():
    large = "large " * (20 * BYTES_A_TOKEN)
    call = message("assistant", calls=[tool_pb2.FunctionCall(name="look", arguments="{}")])
    outputs = message("user")
    outputs.parts.add().outputs.outputs.append("sunny")
    messages = [message("user", "old"), message("user", large), call, outputs, call]
    assert newest_within(messages, 20) == messages[1:]
    assert newest_within([*messages, message("user", "new")], 20) == [*messages[2:], message("user", "new")]
