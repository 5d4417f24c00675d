"""Hands each event of a gRPC client to its conversation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from protos.parley.v1 import conversation_pb2 as pb
from services.gateway.api.grpc import wire
from services.gateway.conversation.conversation import MAX_QUESTION_ID, Conversation

PARTS = ("audio", "image", "video", "frame", "text")  # of a question
ENDS = ("end_of_audio", "respond")  # of a question

Handler = Callable[[Conversation, Any], Awaitable[None]]

HANDLERS: dict[str, Handler] = {
    "audio": lambda conversation, chunk: conversation.add_audio(chunk),
    "end_of_audio": lambda conversation, _: conversation.end_audio(),
    "image": lambda conversation, data: conversation.add_image("image", data),
    "video": lambda conversation, data: conversation.add_image("video", data),
    "frame": lambda conversation, data: conversation.add_frame(data),
    "text": lambda conversation, text: conversation.add_text(text),
    "respond": lambda conversation, _: conversation.respond(),
    "cancel": lambda conversation, _: conversation.cancel(),
    "played": lambda conversation, played: conversation.set_played(played.turn_id, played.samples),
    "update": lambda conversation, config: conversation.update(wire.config_changes(config)),
    "create_item": lambda conversation, it: conversation.create_item(wire.read_item(it.item), it.previous_item_id),
    "retrieve_item": lambda conversation, it: conversation.retrieve_item(it.item_id),
    "truncate_item": lambda conversation, it: conversation.truncate_item(it.item_id, it.samples),
    "delete_item": lambda conversation, it: conversation.delete_item(it.item_id),
}


async def handle(
    conversation: Conversation, event: pb.ClientEvent, count_request: Callable[[], Awaitable[Any]]
) -> None:
    """One event. A bad one is answered with an error event; only a flood raises.

    `count_request` is called where a question ends, and raises where the client has made too many.
    """
    kind = event.WhichOneof("event")
    with conversation.input(event.question_id[:MAX_QUESTION_ID], part=kind in PARTS, end=kind in ENDS):
        if len(event.question_id) > MAX_QUESTION_ID:
            raise ValueError(f"question_id is longer than {MAX_QUESTION_ID} characters")
        if kind is None:
            raise ValueError("the event is empty")
        if kind == "open":
            raise ValueError("open comes first, and once; update changes the session's config")
        if kind in ENDS:
            await count_request()
        await HANDLERS[kind](conversation, getattr(event, kind))
