from protos.parley.v1 import model_info_pb2 as _model_info_pb2
from protos.parley.v1 import tensor_pb2 as _tensor_pb2
from protos.parley.v1 import usage_pb2 as _usage_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EncodeSpeechRequest(_message.Message):
    __slots__ = ("sequence", "open", "audio", "end", "pause")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    OPEN_FIELD_NUMBER: _ClassVar[int]
    AUDIO_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    PAUSE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    open: EncodeSpeechOpen
    audio: bytes
    end: EncodeSpeechEnd
    pause: EncodeSpeechPause
    def __init__(self, sequence: _Optional[int] = ..., open: _Optional[_Union[EncodeSpeechOpen, _Mapping]] = ..., audio: _Optional[bytes] = ..., end: _Optional[_Union[EncodeSpeechEnd, _Mapping]] = ..., pause: _Optional[_Union[EncodeSpeechPause, _Mapping]] = ...) -> None: ...

class EncodeSpeechOpen(_message.Message):
    __slots__ = ("session_id", "turn_id", "deadline_ms", "sample_rate")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    TURN_ID_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_RATE_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    turn_id: str
    deadline_ms: int
    sample_rate: int
    def __init__(self, session_id: _Optional[str] = ..., turn_id: _Optional[str] = ..., deadline_ms: _Optional[int] = ..., sample_rate: _Optional[int] = ...) -> None: ...

class EncodeSpeechEnd(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class EncodeSpeechPause(_message.Message):
    __slots__ = ("number",)
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    number: int
    def __init__(self, number: _Optional[int] = ...) -> None: ...

class EncodeSpeechResponse(_message.Message):
    __slots__ = ("sequence", "chunk", "done")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    chunk: SpeechChunk
    done: EncodeSpeechDone
    def __init__(self, sequence: _Optional[int] = ..., chunk: _Optional[_Union[SpeechChunk, _Mapping]] = ..., done: _Optional[_Union[EncodeSpeechDone, _Mapping]] = ...) -> None: ...

class SpeechChunk(_message.Message):
    __slots__ = ("embeddings", "transcript", "weights", "tail", "pause_number")
    EMBEDDINGS_FIELD_NUMBER: _ClassVar[int]
    TRANSCRIPT_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    TAIL_FIELD_NUMBER: _ClassVar[int]
    PAUSE_NUMBER_FIELD_NUMBER: _ClassVar[int]
    embeddings: _tensor_pb2.Tensor
    transcript: str
    weights: str
    tail: bool
    pause_number: int
    def __init__(self, embeddings: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., transcript: _Optional[str] = ..., weights: _Optional[str] = ..., tail: _Optional[bool] = ..., pause_number: _Optional[int] = ...) -> None: ...

class EncodeSpeechDone(_message.Message):
    __slots__ = ("transcript", "length", "compute_seconds", "usage", "finish_reason")
    TRANSCRIPT_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    COMPUTE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    transcript: str
    length: int
    compute_seconds: float
    usage: _usage_pb2.Usage
    finish_reason: _usage_pb2.FinishReason
    def __init__(self, transcript: _Optional[str] = ..., length: _Optional[int] = ..., compute_seconds: _Optional[float] = ..., usage: _Optional[_Union[_usage_pb2.Usage, _Mapping]] = ..., finish_reason: _Optional[_Union[_usage_pb2.FinishReason, str]] = ...) -> None: ...
