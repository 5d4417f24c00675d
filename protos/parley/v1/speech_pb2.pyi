from protos.parley.v1 import tensor_pb2 as _tensor_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ListenRequest(_message.Message):
    __slots__ = ("sequence", "open", "audio", "end")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    OPEN_FIELD_NUMBER: _ClassVar[int]
    AUDIO_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    open: ListenOpen
    audio: bytes
    end: ListenEnd
    def __init__(self, sequence: _Optional[int] = ..., open: _Optional[_Union[ListenOpen, _Mapping]] = ..., audio: _Optional[bytes] = ..., end: _Optional[_Union[ListenEnd, _Mapping]] = ...) -> None: ...

class ListenOpen(_message.Message):
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

class ListenEnd(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListenResponse(_message.Message):
    __slots__ = ("sequence", "chunk", "done")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    chunk: SpeechChunk
    done: ListenDone
    def __init__(self, sequence: _Optional[int] = ..., chunk: _Optional[_Union[SpeechChunk, _Mapping]] = ..., done: _Optional[_Union[ListenDone, _Mapping]] = ...) -> None: ...

class SpeechChunk(_message.Message):
    __slots__ = ("embeddings", "transcript")
    EMBEDDINGS_FIELD_NUMBER: _ClassVar[int]
    TRANSCRIPT_FIELD_NUMBER: _ClassVar[int]
    embeddings: _tensor_pb2.Tensor
    transcript: str
    def __init__(self, embeddings: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., transcript: _Optional[str] = ...) -> None: ...

class ListenDone(_message.Message):
    __slots__ = ("transcript", "audio_seconds", "vectors", "compute_seconds")
    TRANSCRIPT_FIELD_NUMBER: _ClassVar[int]
    AUDIO_SECONDS_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    COMPUTE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    transcript: str
    audio_seconds: float
    vectors: int
    compute_seconds: float
    def __init__(self, transcript: _Optional[str] = ..., audio_seconds: _Optional[float] = ..., vectors: _Optional[int] = ..., compute_seconds: _Optional[float] = ...) -> None: ...
