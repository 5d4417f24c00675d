"""Items of a session → the messages that the language model is given, as they were played."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence

from protos.parley.v1.language_model_pb2 import Message, Part
from services.gateway.conversation.question import to_wire
from services.gateway.events.items import Item, ItemPart, played_text

# How Qwen2.5's chat template writes calls and their outputs.
CALL = '<tool_call>\n{{"name": {name}, "arguments": {arguments}}}\n</tool_call>'
CALL_OUTPUT = "<tool_response>\n{output}\n</tool_response>"


def to_messages(items: Sequence[Item], instructions: str, weights: Collection[str]) -> list[Message]:
    """The system prompt and the items, oldest first. Items of the system are read at the end of the system prompt.

    `weights`: names of those that the encoders run now. Embeddings of other weights mean nothing to the language model:
    a picture is then left out, and of speech its transcript is read.
    """
    messages = []
    system = "\n\n".join(filter(None, [instructions, *(item.text for item in items if item.role == "system")]))
    if system:
        messages.append(Message(role=Message.ROLE_SYSTEM, parts=[Part(text=system)]))
    for item in items:
        if item.ignored or item.role == "system":
            continue
        role, parts = _message(item, weights)
        if parts:
            messages.append(Message(role=role, parts=parts))
    return messages


def _message(item: Item, weights: Collection[str]) -> tuple[int, list[Part]]:
    match item.type:
        case "function_call":
            call = CALL.format(name=json.dumps(item.name, ensure_ascii=False), arguments=item.arguments or "{}")
            return Message.ROLE_ASSISTANT, [Part(text=call)]
        case "function_call_output":
            return Message.ROLE_USER, [Part(text=CALL_OUTPUT.format(output=item.output))]
    if item.role == "assistant":
        text = played_text(item.text, item.marks, item.played)
        return Message.ROLE_ASSISTANT, [Part(text=text)] if text else []
    parts = (_part(part, weights) for part in item.parts)
    return Message.ROLE_USER, [part for part in parts if part is not None]


def _part(part: ItemPart, weights: Collection[str]) -> Part | None:
    if part.ref is None or part.ref.weights not in weights:
        return Part(text=part.text) if part.text else None
    ref = to_wire(part.ref)
    return Part(image=ref) if part.kind == "image" else Part(utterance=ref, fallback=part.text)
