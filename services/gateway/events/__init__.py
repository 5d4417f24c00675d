"""What a client is told: the events of a session and of its turns, without a wire format.

Each API in `services.gateway.api` writes them in its own wire format. `encode` and `decode` are how they are kept in
the event log.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from services.gateway.events.items import Item
from services.gateway.events.session import SessionConfig

FinishReason = Literal["stop", "length", "nothing", "cancelled", "failed"]


@dataclass(frozen=True)
class Usage:
    prompt_tokens: int = 0  # all kinds
    prompt_audio_tokens: int = 0
    prompt_image_tokens: int = 0
    cached_tokens: int = 0
    answer_tokens: int = 0
    audio_input_seconds: float = 0.0
    audio_output_seconds: float = 0.0


@dataclass(frozen=True)
class Latency:
    """Seconds. What lies between the last sound of the question and the first audio, by service."""

    first_audio: float = 0.0
    end_of_turn: float = 0.0
    speech_encoder: float = 0.0
    first_token: float = 0.0
    first_clause: float = 0.0
    speech_decoder: float = 0.0
    vision_encoder: float = 0.0
    total: float = 0.0


@dataclass(frozen=True)
class SessionReady:
    session_id: str
    resumed: bool
    items: int
    output_sample_rate: int  # Hz
    config: SessionConfig
    speakers: tuple[str, ...] = ()
    running_turn_id: str = ""  # after a resume: the turn whose answer goes on
    last_item_id: str = ""  # of the items that it holds; after a resume, of those that the client knows


@dataclass(frozen=True)
class SessionUpdated:
    config: SessionConfig


@dataclass(frozen=True)
class SpeechStarted:
    """`at_ms`: on the clock of the session's input; -1: the client says itself where questions begin and end."""

    at_ms: int = -1


@dataclass(frozen=True)
class SpeechStopped:
    at_ms: int = -1


@dataclass(frozen=True)
class SilenceNoticed:
    """Nobody has said anything for a while. On the clock of the session's input."""

    start_ms: int
    end_ms: int


@dataclass(frozen=True)
class Transcript:
    text: str
    final: bool = False
    seconds: float = 0.0  # of audio, once it is final


@dataclass(frozen=True)
class StateDecided:
    state: Literal["speech", "text", "nothing"]
    probabilities: tuple[float, ...] = ()


@dataclass(frozen=True)
class AnswerBegun:
    """An answer is being made. `item_id`: of its message. `client`: what the API that asked for it keeps with it."""

    item_id: str
    client: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ApiEvent:
    """An API's own answer to an input, in its own form, in its place among the others."""

    payload: dict[str, Any]


@dataclass(frozen=True)
class TextDelta:
    text: str
    tokens: tuple[int, ...] = ()  # ids of those that came since the delta before; none where functions may be called


@dataclass(frozen=True)
class FunctionCallDelta:
    """A piece of the arguments of a call that the answer makes; the first one may be empty.

    Where no `FunctionCallDone` follows, the call was cut off or turned out to be malformed, and makes no item.
    """

    item_id: str  # of the call's item
    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class FunctionCallDone:
    item_id: str
    call_id: str
    name: str
    arguments: str  # all of them, JSON


@dataclass(frozen=True)
class AudioDelta:
    audio: bytes  # 16-bit little-endian mono
    sample_rate: int  # Hz
    offset: int  # samples of this turn before it
    spoken: int = 0  # characters of this turn's text that have been spoken by the end of it

    @property
    def seconds(self) -> float:
        return len(self.audio) / 2 / self.sample_rate


@dataclass(frozen=True)
class Playback:
    """What the client is to do with the audio of this turn that it has.

    `pause`: speech may be interrupting it; `resume`: it goes on where it was, or `stop`: the rest is not played.
    """

    action: Literal["pause", "resume", "stop"]


@dataclass(frozen=True)
class TurnDone:
    finish_reason: FinishReason
    text: str = ""  # as kept in history
    latency: Latency = Latency()
    usage: Usage = Usage()
    by_speech: bool = False  # cancelled by speech that was detected
    answers: bool = True  # otherwise its question only became an item


@dataclass(frozen=True)
class Failed:
    """The turn failed, or an event of the client was refused."""

    code: str  # name of a gRPC status
    message: str
    retry_after: float = 0.0  # seconds; 0: do not retry


@dataclass(frozen=True)
class ItemCreated:
    item: Item
    previous_item_id: str = ""


@dataclass(frozen=True)
class ItemRetrieved:
    """`audio`: 16-bit little-endian mono at `sample_rate` Hz, where it was asked for and is kept."""

    item: Item
    audio: bytes = b""
    sample_rate: int = 0


@dataclass(frozen=True)
class ItemTruncated:
    item_id: str
    samples: int


@dataclass(frozen=True)
class ItemDeleted:
    item_id: str


Body = (
    SessionReady
    | SessionUpdated
    | SpeechStarted
    | SpeechStopped
    | SilenceNoticed
    | Transcript
    | StateDecided
    | AnswerBegun
    | ApiEvent
    | TextDelta
    | FunctionCallDelta
    | FunctionCallDone
    | AudioDelta
    | Playback
    | TurnDone
    | Failed
    | ItemCreated
    | ItemRetrieved
    | ItemTruncated
    | ItemDeleted
)
BODIES = {body.__name__: body for body in Body.__args__}


@dataclass(frozen=True)
class Event:
    """One thing that a client is told. `sequence` grows from 1; a new connection leaves some out. 0: not delivered.

    After a lost connection the client is told again what it missed: `logged` events, which the event log has already.
    `repeated`: the client has had it; it is only for an API that must know what came before, with pieces put together.
    """

    body: Body
    turn_id: str = ""
    question_id: str = ""
    sequence: int = 0
    logged: bool = False
    repeated: bool = False

    def numbered(self, sequence: int) -> Event:
        return replace(self, sequence=sequence)


def encode(event: Event) -> dict[str, bytes]:
    """An event as the fields of an entry of a Redis stream; its sequence is the entry's id."""
    body = {part.name: _plain(getattr(event.body, part.name)) for part in fields(event.body)}
    audio = body.pop("audio", b"")
    record = {"kind": type(event.body).__name__, "turn": event.turn_id, "question": event.question_id, "body": body}
    return {"event": json.dumps(record, ensure_ascii=False).encode(), "audio": audio}


def decode(sequence: int, entry: dict[bytes, bytes]) -> Event:
    """What `encode` made of an event."""
    record = json.loads(entry[b"event"])
    body = record["body"]
    if record["kind"] in ("AudioDelta", "ItemRetrieved"):
        body["audio"] = entry[b"audio"]
    for name, model in (("item", Item), ("config", SessionConfig)):
        if name in body:
            body[name] = model.model_validate(body[name])
    for name, record_type in (("latency", Latency), ("usage", Usage)):
        if name in body:
            body[name] = record_type(**body[name])
    for name in ("probabilities", "speakers", "tokens"):
        if name in body:
            body[name] = tuple(body[name])
    return Event(BODIES[record["kind"]](**body), record["turn"], record["question"], sequence)


def _plain(value):
    """A field as JSON can hold it; audio stays bytes."""
    if isinstance(value, Item | SessionConfig):
        return value.model_dump(mode="json")
    return asdict(value) if isinstance(value, Latency | Usage) else value
