from protos.parley.v1 import language_model_pb2 as _language_model_pb2
from protos.parley.v1 import tool_pb2 as _tool_pb2
from protos.parley.v1 import usage_pb2 as _usage_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TurnDetection(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TURN_DETECTION_UNSPECIFIED: _ClassVar[TurnDetection]
    TURN_DETECTION_SERVER_VAD: _ClassVar[TurnDetection]
    TURN_DETECTION_MANUAL: _ClassVar[TurnDetection]

class Eagerness(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EAGERNESS_UNSPECIFIED: _ClassVar[Eagerness]
    EAGERNESS_AUTO: _ClassVar[Eagerness]
    EAGERNESS_LOW: _ClassVar[Eagerness]
    EAGERNESS_MEDIUM: _ClassVar[Eagerness]
    EAGERNESS_HIGH: _ClassVar[Eagerness]
TURN_DETECTION_UNSPECIFIED: TurnDetection
TURN_DETECTION_SERVER_VAD: TurnDetection
TURN_DETECTION_MANUAL: TurnDetection
EAGERNESS_UNSPECIFIED: Eagerness
EAGERNESS_AUTO: Eagerness
EAGERNESS_LOW: Eagerness
EAGERNESS_MEDIUM: Eagerness
EAGERNESS_HIGH: Eagerness

class ClientEvent(_message.Message):
    __slots__ = ("open", "update", "audio", "end_of_audio", "image", "video", "frame", "text", "respond", "cancel", "played", "create_item", "retrieve_item", "truncate_item", "delete_item", "question_id")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    UPDATE_FIELD_NUMBER: _ClassVar[int]
    AUDIO_FIELD_NUMBER: _ClassVar[int]
    END_OF_AUDIO_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    VIDEO_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    RESPOND_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    PLAYED_FIELD_NUMBER: _ClassVar[int]
    CREATE_ITEM_FIELD_NUMBER: _ClassVar[int]
    RETRIEVE_ITEM_FIELD_NUMBER: _ClassVar[int]
    TRUNCATE_ITEM_FIELD_NUMBER: _ClassVar[int]
    DELETE_ITEM_FIELD_NUMBER: _ClassVar[int]
    QUESTION_ID_FIELD_NUMBER: _ClassVar[int]
    open: OpenSession
    update: SessionConfig
    audio: bytes
    end_of_audio: EndOfAudio
    image: bytes
    video: bytes
    frame: bytes
    text: str
    respond: Respond
    cancel: CancelTurn
    played: Played
    create_item: CreateItem
    retrieve_item: RetrieveItem
    truncate_item: TruncateItem
    delete_item: DeleteItem
    question_id: str
    def __init__(self, open: _Optional[_Union[OpenSession, _Mapping]] = ..., update: _Optional[_Union[SessionConfig, _Mapping]] = ..., audio: _Optional[bytes] = ..., end_of_audio: _Optional[_Union[EndOfAudio, _Mapping]] = ..., image: _Optional[bytes] = ..., video: _Optional[bytes] = ..., frame: _Optional[bytes] = ..., text: _Optional[str] = ..., respond: _Optional[_Union[Respond, _Mapping]] = ..., cancel: _Optional[_Union[CancelTurn, _Mapping]] = ..., played: _Optional[_Union[Played, _Mapping]] = ..., create_item: _Optional[_Union[CreateItem, _Mapping]] = ..., retrieve_item: _Optional[_Union[RetrieveItem, _Mapping]] = ..., truncate_item: _Optional[_Union[TruncateItem, _Mapping]] = ..., delete_item: _Optional[_Union[DeleteItem, _Mapping]] = ..., question_id: _Optional[str] = ...) -> None: ...

class OpenSession(_message.Message):
    __slots__ = ("session_id", "config", "resumable", "after_sequence")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    RESUMABLE_FIELD_NUMBER: _ClassVar[int]
    AFTER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    config: SessionConfig
    resumable: bool
    after_sequence: int
    def __init__(self, session_id: _Optional[str] = ..., config: _Optional[_Union[SessionConfig, _Mapping]] = ..., resumable: _Optional[bool] = ..., after_sequence: _Optional[int] = ...) -> None: ...

class SessionConfig(_message.Message):
    __slots__ = ("turn_detection", "input_sample_rate", "instructions", "sampling", "text_only", "speaker", "speaker_tokens", "tools", "tool_choice", "tool_name", "parallel_tool_calls", "eagerness", "end_seconds")
    TURN_DETECTION_FIELD_NUMBER: _ClassVar[int]
    INPUT_SAMPLE_RATE_FIELD_NUMBER: _ClassVar[int]
    INSTRUCTIONS_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_FIELD_NUMBER: _ClassVar[int]
    TEXT_ONLY_FIELD_NUMBER: _ClassVar[int]
    SPEAKER_FIELD_NUMBER: _ClassVar[int]
    SPEAKER_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TOOLS_FIELD_NUMBER: _ClassVar[int]
    TOOL_CHOICE_FIELD_NUMBER: _ClassVar[int]
    TOOL_NAME_FIELD_NUMBER: _ClassVar[int]
    PARALLEL_TOOL_CALLS_FIELD_NUMBER: _ClassVar[int]
    EAGERNESS_FIELD_NUMBER: _ClassVar[int]
    END_SECONDS_FIELD_NUMBER: _ClassVar[int]
    turn_detection: TurnDetection
    input_sample_rate: int
    instructions: str
    sampling: _language_model_pb2.Sampling
    text_only: bool
    speaker: str
    speaker_tokens: SpeakerTokens
    tools: Tools
    tool_choice: _tool_pb2.ToolChoice
    tool_name: str
    parallel_tool_calls: bool
    eagerness: Eagerness
    end_seconds: float
    def __init__(self, turn_detection: _Optional[_Union[TurnDetection, str]] = ..., input_sample_rate: _Optional[int] = ..., instructions: _Optional[str] = ..., sampling: _Optional[_Union[_language_model_pb2.Sampling, _Mapping]] = ..., text_only: _Optional[bool] = ..., speaker: _Optional[str] = ..., speaker_tokens: _Optional[_Union[SpeakerTokens, _Mapping]] = ..., tools: _Optional[_Union[Tools, _Mapping]] = ..., tool_choice: _Optional[_Union[_tool_pb2.ToolChoice, str]] = ..., tool_name: _Optional[str] = ..., parallel_tool_calls: _Optional[bool] = ..., eagerness: _Optional[_Union[Eagerness, str]] = ..., end_seconds: _Optional[float] = ...) -> None: ...

class Tools(_message.Message):
    __slots__ = ("tools",)
    TOOLS_FIELD_NUMBER: _ClassVar[int]
    tools: _containers.RepeatedCompositeFieldContainer[_tool_pb2.Tool]
    def __init__(self, tools: _Optional[_Iterable[_Union[_tool_pb2.Tool, _Mapping]]] = ...) -> None: ...

class SpeakerTokens(_message.Message):
    __slots__ = ("tokens",)
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    tokens: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, tokens: _Optional[_Iterable[int]] = ...) -> None: ...

class EndOfAudio(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Respond(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CancelTurn(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Played(_message.Message):
    __slots__ = ("turn_id", "samples")
    TURN_ID_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    turn_id: str
    samples: int
    def __init__(self, turn_id: _Optional[str] = ..., samples: _Optional[int] = ...) -> None: ...

class Item(_message.Message):
    __slots__ = ("id", "type", "role", "turn_id", "content", "call_id", "name", "arguments", "output", "played")
    class Type(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        TYPE_UNSPECIFIED: _ClassVar[Item.Type]
        TYPE_MESSAGE: _ClassVar[Item.Type]
        TYPE_FUNCTION_CALL: _ClassVar[Item.Type]
        TYPE_FUNCTION_CALL_OUTPUT: _ClassVar[Item.Type]
    TYPE_UNSPECIFIED: Item.Type
    TYPE_MESSAGE: Item.Type
    TYPE_FUNCTION_CALL: Item.Type
    TYPE_FUNCTION_CALL_OUTPUT: Item.Type
    ID_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    TURN_ID_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    PLAYED_FIELD_NUMBER: _ClassVar[int]
    id: str
    type: Item.Type
    role: _language_model_pb2.Message.Role
    turn_id: str
    content: _containers.RepeatedCompositeFieldContainer[ItemContent]
    call_id: str
    name: str
    arguments: str
    output: str
    played: int
    def __init__(self, id: _Optional[str] = ..., type: _Optional[_Union[Item.Type, str]] = ..., role: _Optional[_Union[_language_model_pb2.Message.Role, str]] = ..., turn_id: _Optional[str] = ..., content: _Optional[_Iterable[_Union[ItemContent, _Mapping]]] = ..., call_id: _Optional[str] = ..., name: _Optional[str] = ..., arguments: _Optional[str] = ..., output: _Optional[str] = ..., played: _Optional[int] = ...) -> None: ...

class ItemContent(_message.Message):
    __slots__ = ("text", "transcript", "image")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    TRANSCRIPT_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    text: str
    transcript: str
    image: str
    def __init__(self, text: _Optional[str] = ..., transcript: _Optional[str] = ..., image: _Optional[str] = ...) -> None: ...

class CreateItem(_message.Message):
    __slots__ = ("item", "previous_item_id")
    ITEM_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    item: Item
    previous_item_id: str
    def __init__(self, item: _Optional[_Union[Item, _Mapping]] = ..., previous_item_id: _Optional[str] = ...) -> None: ...

class RetrieveItem(_message.Message):
    __slots__ = ("item_id",)
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    item_id: str
    def __init__(self, item_id: _Optional[str] = ...) -> None: ...

class TruncateItem(_message.Message):
    __slots__ = ("item_id", "samples")
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    item_id: str
    samples: int
    def __init__(self, item_id: _Optional[str] = ..., samples: _Optional[int] = ...) -> None: ...

class DeleteItem(_message.Message):
    __slots__ = ("item_id",)
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    item_id: str
    def __init__(self, item_id: _Optional[str] = ...) -> None: ...

class ServerEvent(_message.Message):
    __slots__ = ("sequence", "turn_id", "question_id", "session", "session_updated", "speech_started", "speech_stopped", "transcript", "state", "text", "audio", "done", "error", "item_created", "item", "item_truncated", "item_deleted", "function_call_delta", "function_call_done", "playback")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TURN_ID_FIELD_NUMBER: _ClassVar[int]
    QUESTION_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    SESSION_UPDATED_FIELD_NUMBER: _ClassVar[int]
    SPEECH_STARTED_FIELD_NUMBER: _ClassVar[int]
    SPEECH_STOPPED_FIELD_NUMBER: _ClassVar[int]
    TRANSCRIPT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    AUDIO_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    ITEM_CREATED_FIELD_NUMBER: _ClassVar[int]
    ITEM_FIELD_NUMBER: _ClassVar[int]
    ITEM_TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    ITEM_DELETED_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_CALL_DELTA_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_CALL_DONE_FIELD_NUMBER: _ClassVar[int]
    PLAYBACK_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    turn_id: str
    question_id: str
    session: SessionReady
    session_updated: SessionConfig
    speech_started: SpeechStarted
    speech_stopped: SpeechStopped
    transcript: Transcript
    state: _language_model_pb2.StateDecision
    text: TextDelta
    audio: AudioDelta
    done: TurnDone
    error: ErrorEvent
    item_created: ItemCreated
    item: Item
    item_truncated: ItemTruncated
    item_deleted: ItemDeleted
    function_call_delta: FunctionCallDelta
    function_call_done: FunctionCallDone
    playback: Playback
    def __init__(self, sequence: _Optional[int] = ..., turn_id: _Optional[str] = ..., question_id: _Optional[str] = ..., session: _Optional[_Union[SessionReady, _Mapping]] = ..., session_updated: _Optional[_Union[SessionConfig, _Mapping]] = ..., speech_started: _Optional[_Union[SpeechStarted, _Mapping]] = ..., speech_stopped: _Optional[_Union[SpeechStopped, _Mapping]] = ..., transcript: _Optional[_Union[Transcript, _Mapping]] = ..., state: _Optional[_Union[_language_model_pb2.StateDecision, _Mapping]] = ..., text: _Optional[_Union[TextDelta, _Mapping]] = ..., audio: _Optional[_Union[AudioDelta, _Mapping]] = ..., done: _Optional[_Union[TurnDone, _Mapping]] = ..., error: _Optional[_Union[ErrorEvent, _Mapping]] = ..., item_created: _Optional[_Union[ItemCreated, _Mapping]] = ..., item: _Optional[_Union[Item, _Mapping]] = ..., item_truncated: _Optional[_Union[ItemTruncated, _Mapping]] = ..., item_deleted: _Optional[_Union[ItemDeleted, _Mapping]] = ..., function_call_delta: _Optional[_Union[FunctionCallDelta, _Mapping]] = ..., function_call_done: _Optional[_Union[FunctionCallDone, _Mapping]] = ..., playback: _Optional[_Union[Playback, _Mapping]] = ...) -> None: ...

class SessionReady(_message.Message):
    __slots__ = ("session_id", "resumed", "items", "output_sample_rate", "config", "speakers", "running_turn_id", "last_item_id")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    RESUMED_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_SAMPLE_RATE_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    SPEAKERS_FIELD_NUMBER: _ClassVar[int]
    RUNNING_TURN_ID_FIELD_NUMBER: _ClassVar[int]
    LAST_ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    resumed: bool
    items: int
    output_sample_rate: int
    config: SessionConfig
    speakers: _containers.RepeatedScalarFieldContainer[str]
    running_turn_id: str
    last_item_id: str
    def __init__(self, session_id: _Optional[str] = ..., resumed: _Optional[bool] = ..., items: _Optional[int] = ..., output_sample_rate: _Optional[int] = ..., config: _Optional[_Union[SessionConfig, _Mapping]] = ..., speakers: _Optional[_Iterable[str]] = ..., running_turn_id: _Optional[str] = ..., last_item_id: _Optional[str] = ...) -> None: ...

class SpeechStarted(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SpeechStopped(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Transcript(_message.Message):
    __slots__ = ("text", "final")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    FINAL_FIELD_NUMBER: _ClassVar[int]
    text: str
    final: bool
    def __init__(self, text: _Optional[str] = ..., final: _Optional[bool] = ...) -> None: ...

class TextDelta(_message.Message):
    __slots__ = ("text",)
    TEXT_FIELD_NUMBER: _ClassVar[int]
    text: str
    def __init__(self, text: _Optional[str] = ...) -> None: ...

class FunctionCallDelta(_message.Message):
    __slots__ = ("item_id", "call_id", "name", "arguments")
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    item_id: str
    call_id: str
    name: str
    arguments: str
    def __init__(self, item_id: _Optional[str] = ..., call_id: _Optional[str] = ..., name: _Optional[str] = ..., arguments: _Optional[str] = ...) -> None: ...

class FunctionCallDone(_message.Message):
    __slots__ = ("item_id", "call_id", "name", "arguments")
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    item_id: str
    call_id: str
    name: str
    arguments: str
    def __init__(self, item_id: _Optional[str] = ..., call_id: _Optional[str] = ..., name: _Optional[str] = ..., arguments: _Optional[str] = ...) -> None: ...

class AudioDelta(_message.Message):
    __slots__ = ("audio", "sample_rate", "offset")
    AUDIO_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_RATE_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    audio: bytes
    sample_rate: int
    offset: int
    def __init__(self, audio: _Optional[bytes] = ..., sample_rate: _Optional[int] = ..., offset: _Optional[int] = ...) -> None: ...

class Playback(_message.Message):
    __slots__ = ("action",)
    class Action(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        ACTION_UNSPECIFIED: _ClassVar[Playback.Action]
        ACTION_PAUSE: _ClassVar[Playback.Action]
        ACTION_RESUME: _ClassVar[Playback.Action]
        ACTION_STOP: _ClassVar[Playback.Action]
    ACTION_UNSPECIFIED: Playback.Action
    ACTION_PAUSE: Playback.Action
    ACTION_RESUME: Playback.Action
    ACTION_STOP: Playback.Action
    ACTION_FIELD_NUMBER: _ClassVar[int]
    action: Playback.Action
    def __init__(self, action: _Optional[_Union[Playback.Action, str]] = ...) -> None: ...

class ItemCreated(_message.Message):
    __slots__ = ("item", "previous_item_id")
    ITEM_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    item: Item
    previous_item_id: str
    def __init__(self, item: _Optional[_Union[Item, _Mapping]] = ..., previous_item_id: _Optional[str] = ...) -> None: ...

class ItemTruncated(_message.Message):
    __slots__ = ("item_id", "samples")
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    item_id: str
    samples: int
    def __init__(self, item_id: _Optional[str] = ..., samples: _Optional[int] = ...) -> None: ...

class ItemDeleted(_message.Message):
    __slots__ = ("item_id",)
    ITEM_ID_FIELD_NUMBER: _ClassVar[int]
    item_id: str
    def __init__(self, item_id: _Optional[str] = ...) -> None: ...

class TurnDone(_message.Message):
    __slots__ = ("finish_reason", "text", "latency", "usage")
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    LATENCY_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    finish_reason: _usage_pb2.FinishReason
    text: str
    latency: Latency
    usage: _usage_pb2.Usage
    def __init__(self, finish_reason: _Optional[_Union[_usage_pb2.FinishReason, str]] = ..., text: _Optional[str] = ..., latency: _Optional[_Union[Latency, _Mapping]] = ..., usage: _Optional[_Union[_usage_pb2.Usage, _Mapping]] = ...) -> None: ...

class Latency(_message.Message):
    __slots__ = ("first_audio", "speech_encoder", "first_token", "first_clause", "speech_decoder", "vision_encoder", "total", "end_of_turn")
    FIRST_AUDIO_FIELD_NUMBER: _ClassVar[int]
    SPEECH_ENCODER_FIELD_NUMBER: _ClassVar[int]
    FIRST_TOKEN_FIELD_NUMBER: _ClassVar[int]
    FIRST_CLAUSE_FIELD_NUMBER: _ClassVar[int]
    SPEECH_DECODER_FIELD_NUMBER: _ClassVar[int]
    VISION_ENCODER_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    END_OF_TURN_FIELD_NUMBER: _ClassVar[int]
    first_audio: float
    speech_encoder: float
    first_token: float
    first_clause: float
    speech_decoder: float
    vision_encoder: float
    total: float
    end_of_turn: float
    def __init__(self, first_audio: _Optional[float] = ..., speech_encoder: _Optional[float] = ..., first_token: _Optional[float] = ..., first_clause: _Optional[float] = ..., speech_decoder: _Optional[float] = ..., vision_encoder: _Optional[float] = ..., total: _Optional[float] = ..., end_of_turn: _Optional[float] = ...) -> None: ...

class ErrorEvent(_message.Message):
    __slots__ = ("code", "message", "retry_after")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    retry_after: float
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ..., retry_after: _Optional[float] = ...) -> None: ...
