from protos.parley.v1 import language_pb2 as _language_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ClientEvent(_message.Message):
    __slots__ = ("configure", "audio", "end_of_audio", "image", "video", "frame", "text", "respond", "cancel", "played", "question_id")
    CONFIGURE_FIELD_NUMBER: _ClassVar[int]
    AUDIO_FIELD_NUMBER: _ClassVar[int]
    END_OF_AUDIO_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    VIDEO_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    RESPOND_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    PLAYED_FIELD_NUMBER: _ClassVar[int]
    QUESTION_ID_FIELD_NUMBER: _ClassVar[int]
    configure: Configure
    audio: bytes
    end_of_audio: EndOfAudio
    image: bytes
    video: bytes
    frame: bytes
    text: str
    respond: Respond
    cancel: CancelTurn
    played: Played
    question_id: str
    def __init__(self, configure: _Optional[_Union[Configure, _Mapping]] = ..., audio: _Optional[bytes] = ..., end_of_audio: _Optional[_Union[EndOfAudio, _Mapping]] = ..., image: _Optional[bytes] = ..., video: _Optional[bytes] = ..., frame: _Optional[bytes] = ..., text: _Optional[str] = ..., respond: _Optional[_Union[Respond, _Mapping]] = ..., cancel: _Optional[_Union[CancelTurn, _Mapping]] = ..., played: _Optional[_Union[Played, _Mapping]] = ..., question_id: _Optional[str] = ...) -> None: ...

class Configure(_message.Message):
    __slots__ = ("session_id", "turn_detection", "input_sample_rate", "instructions", "sampling", "text_only", "voice")
    class TurnDetection(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        TURN_DETECTION_SERVER_VAD: _ClassVar[Configure.TurnDetection]
        TURN_DETECTION_MANUAL: _ClassVar[Configure.TurnDetection]
    TURN_DETECTION_SERVER_VAD: Configure.TurnDetection
    TURN_DETECTION_MANUAL: Configure.TurnDetection
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    TURN_DETECTION_FIELD_NUMBER: _ClassVar[int]
    INPUT_SAMPLE_RATE_FIELD_NUMBER: _ClassVar[int]
    INSTRUCTIONS_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_FIELD_NUMBER: _ClassVar[int]
    TEXT_ONLY_FIELD_NUMBER: _ClassVar[int]
    VOICE_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    turn_detection: Configure.TurnDetection
    input_sample_rate: int
    instructions: str
    sampling: _language_pb2.Sampling
    text_only: bool
    voice: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, session_id: _Optional[str] = ..., turn_detection: _Optional[_Union[Configure.TurnDetection, str]] = ..., input_sample_rate: _Optional[int] = ..., instructions: _Optional[str] = ..., sampling: _Optional[_Union[_language_pb2.Sampling, _Mapping]] = ..., text_only: _Optional[bool] = ..., voice: _Optional[_Iterable[int]] = ...) -> None: ...

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

class ServerEvent(_message.Message):
    __slots__ = ("turn_id", "session", "speech_started", "speech_stopped", "heard", "state", "text", "audio", "done", "error", "question_id")
    TURN_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    SPEECH_STARTED_FIELD_NUMBER: _ClassVar[int]
    SPEECH_STOPPED_FIELD_NUMBER: _ClassVar[int]
    HEARD_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    AUDIO_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    QUESTION_ID_FIELD_NUMBER: _ClassVar[int]
    turn_id: str
    session: SessionReady
    speech_started: SpeechStarted
    speech_stopped: SpeechStopped
    heard: Transcript
    state: _language_pb2.StateDecision
    text: TextDelta
    audio: AudioDelta
    done: TurnDone
    error: ErrorEvent
    question_id: str
    def __init__(self, turn_id: _Optional[str] = ..., session: _Optional[_Union[SessionReady, _Mapping]] = ..., speech_started: _Optional[_Union[SpeechStarted, _Mapping]] = ..., speech_stopped: _Optional[_Union[SpeechStopped, _Mapping]] = ..., heard: _Optional[_Union[Transcript, _Mapping]] = ..., state: _Optional[_Union[_language_pb2.StateDecision, _Mapping]] = ..., text: _Optional[_Union[TextDelta, _Mapping]] = ..., audio: _Optional[_Union[AudioDelta, _Mapping]] = ..., done: _Optional[_Union[TurnDone, _Mapping]] = ..., error: _Optional[_Union[ErrorEvent, _Mapping]] = ..., question_id: _Optional[str] = ...) -> None: ...

class SessionReady(_message.Message):
    __slots__ = ("session_id", "resumed", "items", "output_sample_rate")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    RESUMED_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_SAMPLE_RATE_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    resumed: bool
    items: int
    output_sample_rate: int
    def __init__(self, session_id: _Optional[str] = ..., resumed: _Optional[bool] = ..., items: _Optional[int] = ..., output_sample_rate: _Optional[int] = ...) -> None: ...

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

class AudioDelta(_message.Message):
    __slots__ = ("audio", "sample_rate", "offset")
    AUDIO_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_RATE_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    audio: bytes
    sample_rate: int
    offset: int
    def __init__(self, audio: _Optional[bytes] = ..., sample_rate: _Optional[int] = ..., offset: _Optional[int] = ...) -> None: ...

class TurnDone(_message.Message):
    __slots__ = ("reason", "text", "latency")
    class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        REASON_UNSPECIFIED: _ClassVar[TurnDone.Reason]
        REASON_COMPLETE: _ClassVar[TurnDone.Reason]
        REASON_CANCELLED: _ClassVar[TurnDone.Reason]
        REASON_NOTHING: _ClassVar[TurnDone.Reason]
        REASON_FAILED: _ClassVar[TurnDone.Reason]
    REASON_UNSPECIFIED: TurnDone.Reason
    REASON_COMPLETE: TurnDone.Reason
    REASON_CANCELLED: TurnDone.Reason
    REASON_NOTHING: TurnDone.Reason
    REASON_FAILED: TurnDone.Reason
    REASON_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    LATENCY_FIELD_NUMBER: _ClassVar[int]
    reason: TurnDone.Reason
    text: str
    latency: Latency
    def __init__(self, reason: _Optional[_Union[TurnDone.Reason, str]] = ..., text: _Optional[str] = ..., latency: _Optional[_Union[Latency, _Mapping]] = ...) -> None: ...

class Latency(_message.Message):
    __slots__ = ("first_audio", "speech_encoder", "first_token", "first_clause", "speech_decoder", "vision_encoder", "total")
    FIRST_AUDIO_FIELD_NUMBER: _ClassVar[int]
    SPEECH_ENCODER_FIELD_NUMBER: _ClassVar[int]
    FIRST_TOKEN_FIELD_NUMBER: _ClassVar[int]
    FIRST_CLAUSE_FIELD_NUMBER: _ClassVar[int]
    SPEECH_DECODER_FIELD_NUMBER: _ClassVar[int]
    VISION_ENCODER_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    first_audio: float
    speech_encoder: float
    first_token: float
    first_clause: float
    speech_decoder: float
    vision_encoder: float
    total: float
    def __init__(self, first_audio: _Optional[float] = ..., speech_encoder: _Optional[float] = ..., first_token: _Optional[float] = ..., first_clause: _Optional[float] = ..., speech_decoder: _Optional[float] = ..., vision_encoder: _Optional[float] = ..., total: _Optional[float] = ...) -> None: ...

class ErrorEvent(_message.Message):
    __slots__ = ("code", "message", "retry_after")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    retry_after: float
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ..., retry_after: _Optional[float] = ...) -> None: ...
