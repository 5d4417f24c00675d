"""The functions of a request: what of them stands in the prompt, and how the answer may call them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from parley.text.prompt import PromptWriter
from parley.text.tools import call_beginning
from protos.parley.v1 import language_model_pb2 as pb
from protos.parley.v1 import tool_pb2


@dataclass(frozen=True)
class CallRules:
    """Of one request whose answer may call functions. `beginning`: ids that it must begin with."""

    beginning: tuple[int, ...] = ()
    max_calls: int = 0  # after which the answer ends; 0: any number


def read_tools(opening: pb.GenerateOpen, writer: PromptWriter) -> tuple[list[dict[str, Any]], CallRules | None]:
    """(tools as `PromptWriter` takes them, rules; None where nothing may be called).

    Raises `ValueError` for what the request cannot mean, or what the model cannot do.
    """
    choice = opening.tool_choice
    if choice not in tool_pb2.ToolChoice.values():
        raise ValueError(f"tool_choice {choice} is unknown; use one of {', '.join(tool_pb2.ToolChoice.keys())}")
    if choice == tool_pb2.TOOL_CHOICE_NONE or not (opening.tools or choice):
        return [], None
    names = [tool.name for tool in opening.tools]
    name = opening.tool_name if choice == tool_pb2.TOOL_CHOICE_FUNCTION else ""
    if not names or (choice == tool_pb2.TOOL_CHOICE_FUNCTION and name not in names):
        raise ValueError(f"tool_choice asks for a call of {name or 'a function'!r}; the tools are: {', '.join(names)}")
    if opening.max_calls < 0:
        raise ValueError(f"max_calls is {opening.max_calls}; it must be 0 (any number) or more")
    if not writer.writes_calls:
        raise ValueError("this model cannot call functions: its tokenizer has no way to write a call; send no tools")
    forced = choice in (tool_pb2.TOOL_CHOICE_REQUIRED, tool_pb2.TOOL_CHOICE_FUNCTION)
    beginning = tuple(writer.ids(call_beginning(name))) if forced else ()
    return [_tool(tool) for tool in opening.tools], CallRules(beginning, opening.max_calls)


def _tool(tool: tool_pb2.Tool) -> dict[str, Any]:
    """As in OpenAI's chat API; fields that are empty are left out."""
    function: dict[str, Any] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    if tool.parameters:
        function["parameters"] = read_object(tool.parameters, f"the parameters of tool {tool.name!r}")
    return {"type": "function", "function": function}


def read_object(text: str, what: str) -> dict[str, Any]:
    """Raises `ValueError` for a text that is no JSON object."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ValueError(f"{what} are no JSON object")
    return value
