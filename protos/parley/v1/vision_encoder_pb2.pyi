from protos.parley.v1 import model_info_pb2 as _model_info_pb2
from protos.parley.v1 import tensor_pb2 as _tensor_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EncodeVisionRequest(_message.Message):
    __slots__ = ("session_id", "turn_id", "deadline_ms", "image", "video", "frames")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    TURN_ID_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    VIDEO_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    turn_id: str
    deadline_ms: int
    image: bytes
    video: bytes
    frames: Frames
    def __init__(self, session_id: _Optional[str] = ..., turn_id: _Optional[str] = ..., deadline_ms: _Optional[int] = ..., image: _Optional[bytes] = ..., video: _Optional[bytes] = ..., frames: _Optional[_Union[Frames, _Mapping]] = ...) -> None: ...

class Frames(_message.Message):
    __slots__ = ("images",)
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    images: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, images: _Optional[_Iterable[bytes]] = ...) -> None: ...

class EncodeVisionResponse(_message.Message):
    __slots__ = ("embeddings", "pictures", "compute_seconds", "weights")
    EMBEDDINGS_FIELD_NUMBER: _ClassVar[int]
    PICTURES_FIELD_NUMBER: _ClassVar[int]
    COMPUTE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    embeddings: _tensor_pb2.Tensor
    pictures: int
    compute_seconds: float
    weights: str
    def __init__(self, embeddings: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., pictures: _Optional[int] = ..., compute_seconds: _Optional[float] = ..., weights: _Optional[str] = ...) -> None: ...
