"""Messages of `parley.v1.Conversation` ↔ the gateway's events, items and session configuration."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from protos.parley.v1 import conversation_pb2 as pb
from protos.parley.v1 import tool_pb2
from protos.parley.v1.language_model_pb2 import Message, Sampling, State, StateDecision
from protos.parley.v1.usage_pb2 import FinishReason, Usage
from services.gateway import events
from services.gateway.conversation import tools
from services.gateway.events.items import Item, ItemPart
from services.gateway.events.session import SamplingConfig, SessionConfig, Tool

ITEM_TYPES = {
    "message": pb.Item.TYPE_MESSAGE,
    "function_call": pb.Item.TYPE_FUNCTION_CALL,
    "function_call_output": pb.Item.TYPE_FUNCTION_CALL_OUTPUT,
}
ROLES = {
    "": Message.ROLE_UNSPECIFIED,
    "system": Message.ROLE_SYSTEM,
    "user": Message.ROLE_USER,
    "assistant": Message.ROLE_ASSISTANT,
}
STATES = {"speech": State.STATE_SPEECH, "text": State.STATE_TEXT, "nothing": State.STATE_NOTHING}
PLAYBACK_ACTIONS = {
    "pause": pb.Playback.ACTION_PAUSE,
    "resume": pb.Playback.ACTION_RESUME,
    "stop": pb.Playback.ACTION_STOP,
}
CONTENT_FIELDS = {"text": "text", "speech": "transcript", "image": "image"}  # kind of a part → field on the wire

EAGERNESS = {
    "auto": pb.EAGERNESS_AUTO,
    "low": pb.EAGERNESS_LOW,
    "medium": pb.EAGERNESS_MEDIUM,
    "high": pb.EAGERNESS_HIGH,
}
END_SECONDS = (0.1, 10.0)  # of silence, that a client may ask for

_TYPES_OF = {value: name for name, value in ITEM_TYPES.items()}
_EAGERNESS_OF = {value: name for name, value in EAGERNESS.items()}
_TOOL_CHOICES_OF = {value: name for name, value in tools.CHOICES.items()}
_ROLES_OF = {value: name for name, value in ROLES.items()}


def config_changes(config: pb.SessionConfig) -> dict[str, Any]:
    """The fields of a session's config that the client has set. Raises `ValueError` for one that is unknown."""
    changes: dict[str, Any] = {
        name: getattr(config, name)
        for name in ("input_sample_rate", "instructions", "text_only", "speaker", "tool_name", "parallel_tool_calls")
        if config.HasField(name)
    }
    if config.HasField("turn_detection") and config.turn_detection != pb.TURN_DETECTION_UNSPECIFIED:
        if config.turn_detection not in pb.TurnDetection.values():
            raise ValueError(f"turn_detection {config.turn_detection} is unknown; 1 is server_vad, 2 manual")
        changes["manual_turns"] = config.turn_detection == pb.TURN_DETECTION_MANUAL
    if taking := _turn_taking(config):
        changes["turn_taking"] = taking
    if config.HasField("speaker_tokens"):
        changes["speaker_tokens"] = tuple(config.speaker_tokens.tokens)
    if config.HasField("sampling"):
        changes["sampling"] = _sampling(config.sampling)
    if config.HasField("tools"):
        changes["tools"] = tuple(map(_tool, config.tools.tools))
    if config.HasField("tool_choice"):
        if config.tool_choice not in _TOOL_CHOICES_OF:
            raise ValueError(f"tool_choice {config.tool_choice} is unknown; use one of {', '.join(tools.CHOICES)}")
        changes["tool_choice"] = _TOOL_CHOICES_OF[config.tool_choice]
    return changes


def _turn_taking(config: pb.SessionConfig) -> dict[str, Any]:
    """The fields of `TurnTaking` that the client has set. Raises `ValueError`."""
    changes: dict[str, Any] = {}
    if config.HasField("eagerness") and config.eagerness != pb.EAGERNESS_UNSPECIFIED:
        if config.eagerness not in _EAGERNESS_OF:
            raise ValueError(f"eagerness {config.eagerness} is unknown; use one of {', '.join(EAGERNESS)}")
        changes["eagerness"] = _EAGERNESS_OF[config.eagerness]
    if config.HasField("end_seconds"):
        seconds, (least, most) = config.end_seconds, END_SECONDS
        if seconds and not least <= seconds <= most:
            message = f"end_seconds is {seconds:g}; send {least:g} to {most:g} s, or 0 to have what was said decide"
            raise ValueError(message)
        changes["end_seconds"] = seconds or None
    return changes


def _tool(tool: tool_pb2.Tool) -> Tool:
    try:
        return Tool(name=tool.name, description=tool.description, parameters=from_json(tool.parameters or "{}"))
    except ValueError:
        raise ValueError(f"the parameters of tool {tool.name!r} are no JSON object; send a JSON Schema") from None


def _sampling(sampling: Sampling) -> SamplingConfig:
    try:
        return SamplingConfig(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            seed=sampling.seed,
            max_tokens=sampling.max_tokens,
            stop=tuple(sampling.stop),
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"sampling.{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def read_item(item: pb.Item) -> Item:
    """An item that a client creates. Raises `ValueError` for a type or a content that it cannot have."""
    if item.type not in _TYPES_OF:
        raise ValueError(f"item type {item.type} is unknown; use one of {', '.join(map(str, _TYPES_OF))}")
    kinds = [content.WhichOneof("content") for content in item.content]
    if any(kind != "text" for kind in kinds):
        raise ValueError("an item that a client creates has text content only")
    return Item(
        id=item.id,
        type=_TYPES_OF[item.type],
        role=_ROLES_OF.get(item.role, ""),
        parts=[ItemPart(kind="text", text=content.text) for content in item.content],
        call_id=item.call_id,
        name=item.name,
        arguments=item.arguments,
        output=item.output,
    )


def write_event(event: events.Event) -> pb.ServerEvent:
    """What a client is sent."""
    envelope = {"sequence": event.sequence, "turn_id": event.turn_id, "question_id": event.question_id}
    return pb.ServerEvent(**envelope, **_body(event.body))


def _body(body: events.Body) -> dict[str, Any]:
    """The field of a `ServerEvent` that says it."""
    match body:
        case events.SessionReady():
            fields = asdict(body) | {"config": _config(body.config)}
            return {"session": pb.SessionReady(**fields)}
        case events.SessionUpdated():
            return {"session_updated": _config(body.config)}
        case events.SpeechStarted():
            return {"speech_started": pb.SpeechStarted()}
        case events.SpeechStopped():
            return {"speech_stopped": pb.SpeechStopped()}
        case events.Transcript():
            return {"transcript": pb.Transcript(text=body.text, final=body.final)}
        case events.StateDecided():
            return {"state": StateDecision(state=STATES[body.state], probabilities=body.probabilities)}
        case events.TextDelta():
            return {"text": pb.TextDelta(text=body.text)}
        case events.FunctionCallDelta():
            return {"function_call_delta": pb.FunctionCallDelta(**asdict(body))}
        case events.FunctionCallDone():
            return {"function_call_done": pb.FunctionCallDone(**asdict(body))}
        case events.AudioDelta():
            return {"audio": pb.AudioDelta(audio=body.audio, sample_rate=body.sample_rate, offset=body.offset)}
        case events.Playback():
            return {"playback": pb.Playback(action=PLAYBACK_ACTIONS[body.action])}
        case events.TurnDone():
            return {"done": _done(body)}
        case events.Failed():
            return {"error": pb.ErrorEvent(code=body.code, message=body.message, retry_after=body.retry_after)}
        case events.ItemCreated():
            return {"item_created": pb.ItemCreated(item=_item(body.item), previous_item_id=body.previous_item_id)}
        case events.ItemRetrieved():
            return {"item": _item(body.item)}
        case events.ItemTruncated():
            return {"item_truncated": pb.ItemTruncated(item_id=body.item_id, samples=body.samples)}
        case events.ItemDeleted():
            return {"item_deleted": pb.ItemDeleted(item_id=body.item_id)}
    raise AssertionError(body)


def _done(done: events.TurnDone) -> pb.TurnDone:
    return pb.TurnDone(
        finish_reason=FinishReason.Value(f"FINISH_REASON_{done.finish_reason.upper()}"),
        text=done.text,
        latency=pb.Latency(**asdict(done.latency)),
        usage=Usage(**asdict(done.usage)),
    )


def _config(config: SessionConfig) -> pb.SessionConfig:
    return pb.SessionConfig(
        turn_detection=pb.TURN_DETECTION_MANUAL if config.manual_turns else pb.TURN_DETECTION_SERVER_VAD,
        input_sample_rate=config.input_sample_rate,
        instructions=config.instructions,
        sampling=Sampling(**config.sampling.model_dump()),
        text_only=config.text_only,
        speaker=config.speaker,
        speaker_tokens=pb.SpeakerTokens(tokens=config.speaker_tokens),
        tools=pb.Tools(tools=map(tools.to_wire, config.tools)),
        tool_choice=tools.CHOICES[config.tool_choice],
        tool_name=config.tool_name,
        parallel_tool_calls=config.parallel_tool_calls,
        eagerness=EAGERNESS[config.turn_taking.eagerness],
        end_seconds=config.turn_taking.end_seconds or 0,
    )


def _item(item: Item) -> pb.Item:
    return pb.Item(
        id=item.id,
        type=ITEM_TYPES[item.type],
        role=ROLES[item.role],
        turn_id=item.turn_id,
        content=[_content(part) for part in item.parts],
        call_id=item.call_id,
        name=item.name,
        arguments=item.arguments,
        output=item.output,
        played=item.played,
    )


def _content(part: ItemPart) -> pb.ItemContent:
    return pb.ItemContent(**{CONTENT_FIELDS[part.kind]: part.ref.hash if part.kind == "image" else part.text})
