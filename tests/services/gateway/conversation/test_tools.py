"""The functions that answers may call: what is refused, and what the LLM core is told."""

from __future__ import annotations

import pytest

from protos.parley.v1 import tool_pb2 as pb
from services.gateway.conversation.tools import check_tools, to_wire
from services.gateway.events.session import SessionConfig, Tool
from services.gateway.settings import ConversationSettings
from services.rpc.errors import ServiceError

NOW = Tool(name="now", description="the time", parameters={"type": "object"})


def nested(depth: int) -> dict:
    value: dict = {}
    for _ in range(depth):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"tools": (NOW, NOW)}, "two tools have the name 'now'"),
        ({"tools": (Tool(name=""),)}, "'' is no name of a tool; use 1 to 64 of the characters"),
        ({"tools": (Tool(name="the time"),)}, "'the time' is no name of a tool"),
        ({"tools": (Tool(name="x" * 65),)}, "is no name of a tool"),
        ({"tools": tuple(Tool(name=f"f{i}") for i in range(4))}, "4 tools are above the limit of 3"),
        ({"tools": (Tool(name="f", description="x" * 98),)}, "101 characters; that is above the limit of 100"),
        ({"tools": (Tool(name="f", parameters={"x": "y" * 98}),)}, "above the limit of 100"),
        ({"tools": (Tool(name="f", parameters=nested(5000)),)}, "tool 'f' are no valid JSON, or are nested too deep"),
        ({"tools": (Tool(name="f", parameters={"x": float("nan")}),)}, "tool 'f' are no valid JSON"),
        ({"tools": (Tool(name="f", parameters={"x": "\ud800"}),)}, "tool 'f' are no valid JSON"),
        ({"tool_choice": "required"}, "there are no tools"),
        ({"tool_choice": "function", "tool_name": "now"}, "names 'now', which is not among the tools; there are none"),
        ({"tools": (NOW,), "tool_choice": "function", "tool_name": "then"}, "use one of now"),
    ],
)
def test_tools_that_cannot_be_are_refused(config, complaint):
    with pytest.raises(ServiceError, match=complaint):
        check_tools(SessionConfig(**config), ConversationSettings(max_tools=3, max_tool_chars=100))


def test_tools_that_can_be_pass():
    config = SessionConfig(tools=(NOW, Tool(name="f-1_A")), tool_choice="function", tool_name="now")
    check_tools(config, ConversationSettings(max_tools=2, max_tool_chars=42))
    check_tools(SessionConfig(), ConversationSettings(max_tools=0))


def test_a_tool_on_the_wire():
    told = to_wire(Tool(name="now", description="the time", parameters={"b": "é", "a": 1}))
    assert told == pb.Tool(name="now", description="the time", parameters='{"b": "é", "a": 1}')
