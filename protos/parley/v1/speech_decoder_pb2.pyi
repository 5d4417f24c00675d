from protos.parley.v1 import model_info_pb2 as _model_info_pb2
from protos.parley.v1 import usage_pb2 as _usage_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SynthesizeRequest(_message.Message):
    __slots__ = ("sequence", "open", "token", "end", "text")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    OPEN_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    open: SynthesizeOpen
    token: SynthesizeToken
    end: SynthesizeEnd
    text: str
    def __init__(self, sequence: _Optional[int] = ..., open: _Optional[_Union[SynthesizeOpen, _Mapping]] = ..., token: _Optional[_Union[SynthesizeToken, _Mapping]] = ..., end: _Optional[_Union[SynthesizeEnd, _Mapping]] = ..., text: _Optional[str] = ...) -> None: ...

class SynthesizeOpen(_message.Message):
    __slots__ = ("session_id", "turn_id", "deadline_ms", "speaker", "speaker_tokens", "seed")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    TURN_ID_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    SPEAKER_FIELD_NUMBER: _ClassVar[int]
    SPEAKER_TOKENS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    turn_id: str
    deadline_ms: int
    speaker: str
    speaker_tokens: _containers.RepeatedScalarFieldContainer[int]
    seed: int
    def __init__(self, session_id: _Optional[str] = ..., turn_id: _Optional[str] = ..., deadline_ms: _Optional[int] = ..., speaker: _Optional[str] = ..., speaker_tokens: _Optional[_Iterable[int]] = ..., seed: _Optional[int] = ...) -> None: ...

class SynthesizeToken(_message.Message):
    __slots__ = ("id", "text")
    ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    id: int
    text: str
    def __init__(self, id: _Optional[int] = ..., text: _Optional[str] = ...) -> None: ...

class SynthesizeEnd(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SynthesizeResponse(_message.Message):
    __slots__ = ("sequence", "chunk", "done")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    chunk: AudioChunk
    done: SynthesizeDone
    def __init__(self, sequence: _Optional[int] = ..., chunk: _Optional[_Union[AudioChunk, _Mapping]] = ..., done: _Optional[_Union[SynthesizeDone, _Mapping]] = ...) -> None: ...

class AudioChunk(_message.Message):
    __slots__ = ("audio", "sample_rate", "text")
    AUDIO_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_RATE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    audio: bytes
    sample_rate: int
    text: str
    def __init__(self, audio: _Optional[bytes] = ..., sample_rate: _Optional[int] = ..., text: _Optional[str] = ...) -> None: ...

class SynthesizeDone(_message.Message):
    __slots__ = ("compute_seconds", "first_audio_seconds", "usage", "finish_reason", "weights")
    COMPUTE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    FIRST_AUDIO_SECONDS_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    compute_seconds: float
    first_audio_seconds: float
    usage: _usage_pb2.Usage
    finish_reason: _usage_pb2.FinishReason
    weights: str
    def __init__(self, compute_seconds: _Optional[float] = ..., first_audio_seconds: _Optional[float] = ..., usage: _Optional[_Union[_usage_pb2.Usage, _Mapping]] = ..., finish_reason: _Optional[_Union[_usage_pb2.FinishReason, str]] = ..., weights: _Optional[str] = ...) -> None: ...
