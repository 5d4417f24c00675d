"""The functions that a session's answers may call: checked, and as the LLM core is told of them."""

from __future__ import annotations

import json
import re

import grpc
from pydantic_core import from_json

from protos.parley.v1 import tool_pb2 as pb
from services.gateway.events.session import SessionConfig, Tool
from services.gateway.settings import ConversationSettings
from services.rpc.errors import ServiceError
from services.rpc.limits import too_much

CHOICES = {
    "auto": pb.TOOL_CHOICE_AUTO,
    "none": pb.TOOL_CHOICE_NONE,
    "required": pb.TOOL_CHOICE_REQUIRED,
    "function": pb.TOOL_CHOICE_FUNCTION,
}
NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def check_tools(config: SessionConfig, settings: ConversationSettings) -> None:
    """Raises `ServiceError` for tools that cannot be given to the model, or a choice of one that is not there."""
    names = [tool.name for tool in config.tools]
    if len(names) > settings.max_tools:
        message = f"{len(names)} tools are above the limit of {settings.max_tools}"
        raise too_much("gateway", "max_tools", message)
    for name in names:
        if not NAME.fullmatch(name):
            raise _refuse(f"{name[:64]!r} is no name of a tool; use 1 to 64 of the characters a-z, A-Z, 0-9, _ and -")
        if names.count(name) > 1:
            raise _refuse(f"two tools have the name {name!r}; names must differ")
    length = sum(len(_checked_parameters(tool)) + len(tool.description) + len(tool.name) for tool in config.tools)
    if length > settings.max_tool_chars:
        message = f"the tools have {length} characters; that is above the limit of {settings.max_tool_chars}"
        raise too_much("gateway", "max_tool_chars", message)
    if config.tool_choice == "required" and not names:
        raise _refuse("tool_choice is required, but there are no tools")
    if config.tool_choice == "function" and config.tool_name not in names:
        known = f"use one of {', '.join(names)}" if names else "there are none"
        raise _refuse(f"tool_choice names {config.tool_name[:64]!r}, which is not among the tools; {known}")


def to_wire(tool: Tool) -> pb.Tool:
    return pb.Tool(name=tool.name, description=tool.description, parameters=_parameters(tool))


def _parameters(tool: Tool) -> str:
    return json.dumps(tool.parameters, ensure_ascii=False)


def _checked_parameters(tool: Tool) -> str:
    try:
        parameters = _parameters(tool)
        from_json(parameters.encode(), allow_inf_nan=False)
    except (ValueError, RecursionError):
        raise _refuse(f"the parameters of tool {tool.name!r} are no valid JSON, or are nested too deep") from None
    return parameters


def _refuse(message: str) -> ServiceError:
    return ServiceError(grpc.StatusCode.INVALID_ARGUMENT, message)
