"""Items of a session → the messages that the language model is given, as they were played.

What a client writes one by one may be one message to the model: pictures and the question about them, the outputs of
several calls, an answer's text and its calls.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence

from protos.parley.v1.language_model_pb2 import Message, Part
from protos.parley.v1.tool_pb2 import FunctionCall, FunctionOutputs
from services.gateway.conversation.question import to_wire
from services.gateway.events.items import Item, ItemPart, played_text
from services.telemetry import logs

log = logs.get_logger(__name__)


def to_messages(items: Sequence[Item], instructions: str, weights: Collection[str]) -> list[Message]:
    """The system prompt and the items, oldest first. Items of the system are read at the end of the system prompt.

    `weights`: names of those that the encoders run now. Embeddings of other weights mean nothing to the language model:
    a picture is then left out, and of speech its transcript is read.
    """
    messages = []
    system = "\n\n".join(filter(None, [instructions, *(item.text for item in items if item.role == "system")]))
    if system:
        messages.append(Message(role=Message.ROLE_SYSTEM, parts=[Part(text=system)]))
    before: Item | None = None
    for item in _outputs_in_order(item for item in items if not item.ignored and item.role != "system"):
        message = _message(item, weights)
        if not message.parts and not message.calls:
            continue
        if before is not None and _is_one_message(before, item):
            messages[-1].MergeFrom(message)
        else:
            messages.append(message)
        before = item
    return list(map(_arranged, messages))


def _outputs_in_order(items: Iterable[Item]) -> Iterator[Item]:
    """The same, with outputs that follow one another in the order of their calls, which is all that tells them apart.

    An output whose call is no longer there is left out: it means nothing.
    """
    calls: dict[str, int] = {}
    for are_outputs, group in itertools.groupby(items, lambda item: item.type == "function_call_output"):
        group = list(group)
        if are_outputs:
            known = [item for item in group if item.call_id in calls]
            if len(known) < len(group):
                log.info("outputs without their calls were left out of the prompt", outputs=len(group) - len(known))
            yield from sorted(known, key=lambda item: calls[item.call_id])
            continue
        for item in group:
            if item.type == "function_call":
                calls[item.call_id] = len(calls)
            yield item


def _is_one_message(before: Item, item: Item) -> bool:
    if item.type == "function_call":
        return _role(before) == Message.ROLE_ASSISTANT and before.turn_id == item.turn_id
    return _role(before) == _role(item) == Message.ROLE_USER


def _role(item: Item) -> int:
    if item.type == "message":
        return Message.ROLE_ASSISTANT if item.role == "assistant" else Message.ROLE_USER
    return Message.ROLE_ASSISTANT if item.type == "function_call" else Message.ROLE_USER


def _message(item: Item, weights: Collection[str]) -> Message:
    """Empty where there is nothing to read in it."""
    message = Message(role=_role(item))
    if item.type == "function_call":
        message.calls.append(FunctionCall(name=item.name, arguments=item.arguments or "{}"))
    elif item.type == "function_call_output":
        message.parts.append(Part(outputs=FunctionOutputs(outputs=[item.output])))
    elif item.role == "assistant":
        text = played_text(item.text, item.marks, item.played)
        message.parts.extend([Part(text=text)] if text else [])
    else:
        parts = (_part(part, weights) for part in item.parts)
        message.parts.extend(part for part in parts if part is not None)
    return message


def _part(part: ItemPart, weights: Collection[str]) -> Part | None:
    if part.ref is None or part.ref.weights not in weights:
        return Part(text=part.text) if part.text else None
    ref = to_wire(part.ref)
    return Part(image=ref) if part.kind == "image" else Part(utterance=ref, fallback=part.text)


def _arranged(message: Message) -> Message:
    """With pictures in front of the rest, and outputs in one part."""
    if message.role != Message.ROLE_USER:
        return message
    arranged = Message(role=message.role)
    for are_outputs, parts in itertools.groupby(message.parts, lambda part: part.HasField("outputs")):
        if are_outputs:
            outputs = [output for part in parts for output in part.outputs.outputs]
            arranged.parts.append(Part(outputs=FunctionOutputs(outputs=outputs)))
        else:
            arranged.parts.extend(sorted(parts, key=lambda part: not part.HasField("image")))
    return arranged
