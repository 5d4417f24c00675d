"""A client's message → an event of the Realtime API, or what is wrong with it."""

from __future__ import annotations

from typing import Any, get_args

from openai.types import realtime as types
from pydantic import BaseModel
from pydantic_core import from_json

from services.gateway.api.openai.errors import ApiError
from services.gateway.api.openai.json_limit import MAX_VALUES, MESSAGE, count_values
from services.gateway.api.openai.validation import validate

MAX_EVENT_ID = 512  # characters, as OpenAI has it
APPEND_FIELDS = {"type", "event_id", "audio"}


def _type_of(event: type[BaseModel]) -> str:
    return get_args(event.model_fields["type"].annotation)[0]


CLIENT_EVENTS = {_type_of(event): event for event in get_args(get_args(types.RealtimeClientEvent)[0])}


class ClientEvent:
    """`body`: the fields as the client sent them, `event_id` its own name for it."""

    def __init__(self, event_id: str | None, body: dict[str, Any]):
        self.event_id, self.body = event_id, body

    @property
    def type(self) -> str:
        """Raises `ApiError` where there is none that clients send."""
        if "type" not in self.body:
            raise ApiError("Missing required parameter: 'type'.", "missing_required_parameter", "type")
        name = self.body["type"]
        if not isinstance(name, str) or name not in CLIENT_EVENTS:
            known = ", ".join(sorted(CLIENT_EVENTS))
            raise ApiError(f"Invalid value: {name!r}. Supported values are: {known}.", "invalid_value", "type")
        return name


def parse(text: str) -> ClientEvent:
    """Raises `ApiError`. The type of the event and its fields are checked by whoever handles it."""
    data = text.encode()
    if len(data) > MAX_VALUES and count_values(data) > MAX_VALUES:
        raise ApiError(f"The message {MESSAGE}.", "invalid_value")
    try:
        body = from_json(data, allow_inf_nan=False)  # it goes 200 deep
    except ValueError:
        raise ApiError("The message is not valid JSON.", "invalid_json") from None
    if not isinstance(body, dict):
        raise ApiError("The message is not a JSON object.", "invalid_json")
    event_id = body.get("event_id")
    if event_id is not None and not (isinstance(event_id, str) and len(event_id) <= MAX_EVENT_ID):
        raise ApiError(f"event_id is a string of at most {MAX_EVENT_ID} characters.", "invalid_type", "event_id")
    return ClientEvent(event_id, body)


def checked(event: ClientEvent) -> Any:
    """The event as its type in the `openai` package. Raises `ApiError`."""
    return validate(CLIENT_EVENTS[event.type], event.body)


def appended(event: ClientEvent) -> str:
    """The audio of an `input_audio_buffer.append`, in base64. Raises `ApiError`.

    Every microphone sends it 25 times a second: what is right is seen at a glance.
    """
    audio = event.body.get("audio")
    return audio if isinstance(audio, str) and event.body.keys() <= APPEND_FIELDS else checked(event).audio
