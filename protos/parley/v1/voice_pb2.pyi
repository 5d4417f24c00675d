from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SpeakRequest(_message.Message):
    __slots__ = ("sequence", "open", "token", "end")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    OPEN_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    open: SpeakOpen
    token: SpeakToken
    end: SpeakEnd
    def __init__(self, sequence: _Optional[int] = ..., open: _Optional[_Union[SpeakOpen, _Mapping]] = ..., token: _Optional[_Union[SpeakToken, _Mapping]] = ..., end: _Optional[_Union[SpeakEnd, _Mapping]] = ...) -> None: ...

class SpeakOpen(_message.Message):
    __slots__ = ("session_id", "turn_id", "deadline_ms", "voice", "seed")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    TURN_ID_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    VOICE_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    turn_id: str
    deadline_ms: int
    voice: _containers.RepeatedScalarFieldContainer[int]
    seed: int
    def __init__(self, session_id: _Optional[str] = ..., turn_id: _Optional[str] = ..., deadline_ms: _Optional[int] = ..., voice: _Optional[_Iterable[int]] = ..., seed: _Optional[int] = ...) -> None: ...

class SpeakToken(_message.Message):
    __slots__ = ("id", "text")
    ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    id: int
    text: str
    def __init__(self, id: _Optional[int] = ..., text: _Optional[str] = ...) -> None: ...

class SpeakEnd(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SpeakResponse(_message.Message):
    __slots__ = ("sequence", "chunk", "done")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    chunk: AudioChunk
    done: SpeakDone
    def __init__(self, sequence: _Optional[int] = ..., chunk: _Optional[_Union[AudioChunk, _Mapping]] = ..., done: _Optional[_Union[SpeakDone, _Mapping]] = ...) -> None: ...

class AudioChunk(_message.Message):
    __slots__ = ("audio", "sample_rate", "text")
    AUDIO_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_RATE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    audio: bytes
    sample_rate: int
    text: str
    def __init__(self, audio: _Optional[bytes] = ..., sample_rate: _Optional[int] = ..., text: _Optional[str] = ...) -> None: ...

class SpeakDone(_message.Message):
    __slots__ = ("audio_seconds", "compute_seconds", "first_audio_seconds")
    AUDIO_SECONDS_FIELD_NUMBER: _ClassVar[int]
    COMPUTE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    FIRST_AUDIO_SECONDS_FIELD_NUMBER: _ClassVar[int]
    audio_seconds: float
    compute_seconds: float
    first_audio_seconds: float
    def __init__(self, audio_seconds: _Optional[float] = ..., compute_seconds: _Optional[float] = ..., first_audio_seconds: _Optional[float] = ...) -> None: ...
