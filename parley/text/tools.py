"""Functions in a prompt, in the form of Qwen2.5's chat template: what may be called, calls, and their outputs.

A text of the template is a list of pieces, which `PromptWriter.ids` encodes. A `Tag` is markup; all else is text.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any


class Tag(str):
    """Markup: one token where the tokenizer has it as a token of its own, otherwise ordinary text."""

    __slots__ = ()


CALL, END_OF_CALL = Tag("<tool_call>"), Tag("</tool_call>")
OUTPUT, END_OF_OUTPUT = Tag("<tool_response>"), Tag("</tool_response>")
TAGS = (CALL, END_OF_CALL, OUTPUT, END_OF_OUTPUT)

INTRODUCTION = """# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>"""
HOW_TO_CALL = """
</tools>

For each function call, return a json object with function name and arguments within """


def system_pieces(system: str, tools: Sequence[dict[str, Any]]) -> list[str]:
    """A system message. `tools`: as in OpenAI's chat API, {"type": "function", "function": {"name": …, …}}."""
    if not tools:
        return [system]
    written = "".join(f"\n{json.dumps(tool, ensure_ascii=False)}" for tool in tools)
    start = f"{system}\n\n{INTRODUCTION}" if system else INTRODUCTION
    form = '\n{"name": <function-name>, "arguments": <args-json-object>}\n'
    return [start, written, HOW_TO_CALL, CALL, END_OF_CALL, " XML tags:\n", CALL, form, END_OF_CALL]


def answer_pieces(text: str, calls: Sequence[dict[str, str]]) -> list[str]:
    """An answer's text and its calls, {"name": …, "arguments": JSON} each."""
    pieces = [text] if text else []
    for call in calls:
        name, arguments = json.dumps(call["name"], ensure_ascii=False), call["arguments"]
        body = f'\n{{"name": {name}, "arguments": {arguments}}}\n'
        pieces += ["\n"] * bool(pieces) + [CALL, body, END_OF_CALL]
    return pieces


def output_pieces(outputs: Sequence[str]) -> list[str]:
    """What the functions that were called have returned, in the order of the calls."""
    pieces: list[str] = []
    for output in outputs:
        pieces += ["\n"] * bool(pieces) + [OUTPUT, f"\n{output}\n", END_OF_OUTPUT]
    return pieces


def call_beginning(name: str = "") -> list[str]:
    """How an answer begins that must be a call, of this function if it is named.

    It ends where a word ends for every tokenizer: the space before the arguments belongs to their first token.
    """
    return [CALL, f'\n{{"name": {json.dumps(name, ensure_ascii=False)}, "arguments":' if name else "\n"]
