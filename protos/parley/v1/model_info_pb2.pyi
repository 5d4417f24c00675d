from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DescribeRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ModelInfo(_message.Message):
    __slots__ = ("service", "model", "parts", "weights", "device", "dtype", "embedding_width", "context_length", "max_answer_tokens", "slots", "input_sample_rate", "embedding_rate", "max_audio_seconds", "transcribes", "output_sample_rate", "codec_frame_rate", "speakers", "num_speaker_tokens", "load")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_WIDTH_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_LENGTH_FIELD_NUMBER: _ClassVar[int]
    MAX_ANSWER_TOKENS_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    INPUT_SAMPLE_RATE_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_RATE_FIELD_NUMBER: _ClassVar[int]
    MAX_AUDIO_SECONDS_FIELD_NUMBER: _ClassVar[int]
    TRANSCRIBES_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_SAMPLE_RATE_FIELD_NUMBER: _ClassVar[int]
    CODEC_FRAME_RATE_FIELD_NUMBER: _ClassVar[int]
    SPEAKERS_FIELD_NUMBER: _ClassVar[int]
    NUM_SPEAKER_TOKENS_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    service: str
    model: str
    parts: _containers.RepeatedScalarFieldContainer[str]
    weights: str
    device: str
    dtype: str
    embedding_width: int
    context_length: int
    max_answer_tokens: int
    slots: int
    input_sample_rate: int
    embedding_rate: float
    max_audio_seconds: float
    transcribes: bool
    output_sample_rate: int
    codec_frame_rate: float
    speakers: _containers.RepeatedCompositeFieldContainer[Speaker]
    num_speaker_tokens: int
    load: Load
    def __init__(self, service: _Optional[str] = ..., model: _Optional[str] = ..., parts: _Optional[_Iterable[str]] = ..., weights: _Optional[str] = ..., device: _Optional[str] = ..., dtype: _Optional[str] = ..., embedding_width: _Optional[int] = ..., context_length: _Optional[int] = ..., max_answer_tokens: _Optional[int] = ..., slots: _Optional[int] = ..., input_sample_rate: _Optional[int] = ..., embedding_rate: _Optional[float] = ..., max_audio_seconds: _Optional[float] = ..., transcribes: _Optional[bool] = ..., output_sample_rate: _Optional[int] = ..., codec_frame_rate: _Optional[float] = ..., speakers: _Optional[_Iterable[_Union[Speaker, _Mapping]]] = ..., num_speaker_tokens: _Optional[int] = ..., load: _Optional[_Union[Load, _Mapping]] = ...) -> None: ...

class Load(_message.Message):
    __slots__ = ("real_time_factor", "queue_seconds")
    REAL_TIME_FACTOR_FIELD_NUMBER: _ClassVar[int]
    QUEUE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    real_time_factor: float
    queue_seconds: float
    def __init__(self, real_time_factor: _Optional[float] = ..., queue_seconds: _Optional[float] = ...) -> None: ...

class Speaker(_message.Message):
    __slots__ = ("name", "tokens")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    name: str
    tokens: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, name: _Optional[str] = ..., tokens: _Optional[_Iterable[int]] = ...) -> None: ...
