"""The session of the Realtime API: what the client has set, merged, checked, and what it means for the conversation."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from openai.types import realtime as types

from services.gateway.api.openai.errors import ApiError
from services.gateway.api.openai.names import ModelNames, speaker_of
from services.gateway.api.openai.realtime.formats import PCM, rate_of
from services.gateway.api.openai.validation import validate
from services.gateway.events.session import SamplingConfig, Tool, TurnTaking

SERVER_VAD = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": 300,
    "idle_timeout_ms": None,
    "create_response": True,
    "interrupt_response": True,
}
SEMANTIC_VAD = {"type": "semantic_vad", "eagerness": "auto", "create_response": True, "interrupt_response": True}
IGNORED = {  # accepted, since clients send them unasked, and shown as what holds
    "tracing": None,
    "truncation": "auto",
    "prompt": None,
    "include": None,
}
RANGES = {  # of turn_detection
    "threshold": (0.0, 1.0),
    "prefix_padding_ms": (0, 1_000),
    "silence_duration_ms": (100, 10_000),
    "idle_timeout_ms": (5_000, 30_000),
}
NEVER_NULL = ("audio", "input", "output")  # null is read as absent: there is nothing to clear
MAX_TOKENS = 4096


def defaults(model: str, kind: str, voice: str) -> dict[str, Any]:
    """A session before the client has set anything. `kind`: realtime or transcription."""
    audio_input = {"format": PCM, "transcription": None, "noise_reduction": None, "turn_detection": SERVER_VAD}
    if kind == "transcription":
        audio_input["transcription"] = {"model": model}
        return copy.deepcopy({"type": kind, "audio": {"input": audio_input}, "include": None})
    session = {
        "type": kind,
        "model": model,
        "output_modalities": ["audio"],
        "instructions": "",
        "tools": [],
        "tool_choice": "auto",
        "max_output_tokens": "inf",
        **IGNORED,
        "audio": {"input": audio_input, "output": {"format": PCM, "voice": voice, "speed": 1.0}},
    }
    return copy.deepcopy(session)


class RealtimeSession:
    """`value`: as clients see it, without what only the server sets. Changes are made wholly or not at all."""

    def __init__(self, names: ModelNames, speakers: Sequence[str], value: dict[str, Any]):
        self._names, self._speakers = names, speakers
        self.value = value
        self.spoke = False  # audio was sent; the voice stays from here on

    @property
    def transcribes_only(self) -> bool:
        return self.value["type"] == "transcription"

    @property
    def input_format(self) -> Mapping[str, Any]:
        return self.value["audio"]["input"]["format"]

    def merged(self, patch: Any) -> dict[str, Any]:
        """`patch` over what holds: absent fields stay, null clears. Raises `ApiError`; nothing is changed."""
        if not isinstance(patch, dict):
            raise ApiError("Missing required parameter: 'session'.", "missing_required_parameter", "session")
        if patch.get("type") is None:
            raise ApiError("Missing required parameter: 'session.type'.", "missing_required_parameter", "session.type")
        if patch["type"] not in ("realtime", "transcription"):
            raise ApiError("session.type is realtime or transcription.", "invalid_value", "session.type")
        if patch["type"] != self.value["type"]:
            base = defaults(self._names.served, patch["type"], self._speakers[0] if self._speakers else "")
        else:
            base = copy.deepcopy(self.value)
        patch = _with_detection_type(base, patch)
        _validate(patch)
        return self._settled(base, _merge(base, patch), patch)

    def _settled(self, base: dict[str, Any], value: dict[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
        """What of the merged session holds here. Raises `ApiError` for what cannot."""
        _settle_input(value["audio"]["input"])
        value.pop("reasoning", None)
        value.pop("parallel_tool_calls", None) if value.get("parallel_tool_calls") is None else None
        if patch.get("include"):
            message = "Log probabilities of transcripts are not supported; leave include out."
            raise ApiError(message, "invalid_value", "session.include")
        if value["type"] == "transcription":
            return value
        if patch.get("prompt") is not None:
            raise ApiError("Stored prompts are not supported; send instructions.", "invalid_value", "session.prompt")
        if patch.get("model") is not None:
            self._names.resolve(patch["model"])
        value |= {**IGNORED, "model": base["model"]}
        self._settle_output(base, value)
        check_tools(value, "session")
        return value

    def _settle_output(self, base: dict[str, Any], value: dict[str, Any]) -> None:
        value["instructions"] = value["instructions"] or ""
        if value["max_output_tokens"] is None:
            value["max_output_tokens"] = "inf"
        check_max_tokens(value["max_output_tokens"], "session.max_output_tokens")
        value["output_modalities"] = value["output_modalities"] or ["audio"]
        check_modalities(value["output_modalities"], "session.output_modalities")
        output = value["audio"]["output"]
        output["format"] = _settled_format(output.get("format"))
        output["speed"] = 1.0 if output.get("speed") is None else output["speed"]
        if output["speed"] != 1:
            message = "Another speed than 1 is not supported."
            raise ApiError(message, "invalid_value", "session.audio.output.speed")
        voice = output["voice"] = voice_name(output.get("voice") or base["audio"]["output"]["voice"])
        if voice == base["audio"]["output"]["voice"]:
            return
        speaker_of(voice, self._speakers)
        if self.spoke:
            message = "Cannot update a conversation's voice if assistant audio is present."
            raise ApiError(message, "cannot_update_voice", "session.audio.output.voice")

    def changes(self) -> dict[str, Any]:
        """The configuration of the conversation (`SessionConfig`) that the session means."""
        detection = self.value["audio"]["input"]["turn_detection"]
        changes: dict[str, Any] = {
            "manual_turns": detection is None,
            "input_sample_rate": rate_of(self.input_format),
            "turn_taking": _turn_taking(detection or {}, answer=not self.transcribes_only),
            "client": {"session": self.value},
        }
        return changes if self.transcribes_only else changes | answer_changes(self.value, self._speakers)


def answer_changes(value: Mapping[str, Any], speakers: Sequence[str]) -> dict[str, Any]:
    """What of a session, or of it with a response's own fields in front, is about answers."""
    tokens = value["max_output_tokens"]
    choice = value["tool_choice"] or "auto"
    named = isinstance(choice, dict)
    return {
        "instructions": value["instructions"],
        "text_only": value["output_modalities"] == ["text"],
        "speaker": speaker_of(value["audio"]["output"]["voice"], speakers),
        "sampling": SamplingConfig(max_tokens=0 if tokens == "inf" else tokens),
        "tools": tuple(_tool(tool) for tool in value["tools"] or ()),
        "tool_choice": "function" if named else choice,
        "tool_name": choice["name"] if named else "",
        "parallel_tool_calls": value.get("parallel_tool_calls") is not False,
    }


def response_value(session: Mapping[str, Any], response: Mapping[str, Any]) -> dict[str, Any]:
    """The session with a response's own fields in front."""
    value = _merge(copy.deepcopy(session), response)
    output = value["audio"]["output"]
    output["format"] = _settled_format(output["format"])
    output["voice"] = voice_name(output["voice"] or session["audio"]["output"]["voice"])
    return value


def check_tools(value: Mapping[str, Any], path: str) -> None:
    """Raises `ApiError` for tools that are no functions, and a choice that is none of them."""
    names = set()
    for index, tool in enumerate(value.get("tools") or ()):
        if tool.get("type", "function") != "function":
            message = f"Tools of type {tool['type']!r} are not supported; use functions."
            raise ApiError(message, "invalid_value", f"{path}.tools.{index}.type")
        if not tool.get("name"):
            raise ApiError("A function has a name.", "missing_required_parameter", f"{path}.tools.{index}.name")
        if not isinstance(tool.get("parameters") or {}, dict):
            message = "The parameters of a function are a JSON Schema, an object."
            raise ApiError(message, "invalid_type", f"{path}.tools.{index}.parameters")
        names.add(tool["name"])
    choice = value.get("tool_choice")
    if isinstance(choice, dict) and (choice.get("type") != "function" or choice.get("name") not in names):
        message = "tool_choice is auto, none, required, or a function of tools."
        raise ApiError(message, "invalid_value", f"{path}.tool_choice")


def check_modalities(modalities: Sequence[str], path: str) -> None:
    if list(modalities) not in (["audio"], ["text"]):
        raise ApiError('Output modalities are ["audio"] (with its transcript) or ["text"].', "invalid_value", path)


def check_max_tokens(tokens: Any, path: str) -> None:
    if tokens != "inf" and not 1 <= tokens <= MAX_TOKENS:
        raise ApiError(f"max_output_tokens is 1 to {MAX_TOKENS} or 'inf'.", "invalid_value", path)


def voice_name(voice: Any) -> str:
    """Of a voice, which may be an object with an id."""
    return voice["id"] if isinstance(voice, dict) else voice


def _validate(patch: dict[str, Any]) -> None:
    """Its form. Raises `ApiError`."""
    realtime = patch["type"] == "realtime"
    model = types.RealtimeSessionCreateRequest if realtime else types.RealtimeTranscriptionSessionCreateRequest
    format = ((patch.get("audio") or {}) if isinstance(patch.get("audio"), dict) else {}).get("input") or {}
    if isinstance(format, dict) and isinstance(format.get("format"), dict) and format["format"].get("rate") == 8000:
        format["format"].pop("rate")  # said by some clients of the telephone formats
    validate(model, patch, "session")


def _with_detection_type(base: Mapping[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """A detection of which only some options are sent keeps its type."""
    patch = copy.deepcopy(patch)
    audio = patch.get("audio")
    given = audio.get("input") if isinstance(audio, dict) else None
    detection = given.get("turn_detection") if isinstance(given, dict) else None
    if isinstance(detection, dict) and "type" not in detection:
        detection["type"] = (base["audio"]["input"]["turn_detection"] or SERVER_VAD)["type"]
    return patch


def _merge(base: Any, patch: Any) -> Any:
    """Objects are merged field by field; all else, and an object of another type, takes the place of what was."""
    if not isinstance(base, dict) or not isinstance(patch, Mapping):
        return patch
    if "type" in patch and "type" in base and patch["type"] != base["type"]:
        return dict(patch)
    given = {name: value for name, value in patch.items() if value is not None or name not in NEVER_NULL}
    return base | {name: _merge(base.get(name), value) for name, value in given.items()}


def _settle_input(value: dict[str, Any]) -> None:
    value["format"] = _settled_format(value.get("format"))
    value["noise_reduction"] = None
    value.setdefault("transcription", None)
    detection = value.setdefault("turn_detection", None)
    if detection is None:
        return
    base = SERVER_VAD if detection["type"] == "server_vad" else SEMANTIC_VAD
    given = {name: each for name, each in detection.items() if each is not None}
    value["turn_detection"] = base | given
    for name, (least, most) in RANGES.items():
        if name in given and not least <= given[name] <= most:
            path = f"session.audio.input.turn_detection.{name}"
            raise ApiError(f"Invalid value for '{path}': it is {least} to {most}.", "invalid_value", path)


def _settled_format(format: Mapping[str, Any] | None) -> dict[str, Any]:
    kind = (format or PCM).get("type") or "audio/pcm"
    return dict(PCM) if kind == "audio/pcm" else {"type": kind}


def _turn_taking(detection: Mapping[str, Any], answer: bool) -> TurnTaking:
    answers = answer and detection.get("create_response", True)
    interruption = None if answers else "voice"  # what is not answered has no state
    if not detection.get("interrupt_response", True):
        interruption = "never"
    common = {"interruption": interruption, "answer": answers, "items_first": True}
    if detection.get("type") == "semantic_vad":
        return TurnTaking(**common, eagerness=detection["eagerness"])
    if not detection:
        return TurnTaking(**common)
    silence = detection.get("silence_duration_ms")  # only where the client has named it
    return TurnTaking(
        **common,
        start=min(max(detection["threshold"], 0.05), 0.95),
        end_seconds=None if silence is None else silence / 1000,
        preroll_seconds=detection["prefix_padding_ms"] / 1000,
    )


def _tool(tool: Mapping[str, Any]) -> Tool:
    return Tool(name=tool["name"], description=tool.get("description") or "", parameters=tool.get("parameters") or {})
