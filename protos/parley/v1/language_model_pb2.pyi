from protos.parley.v1 import model_info_pb2 as _model_info_pb2
from protos.parley.v1 import tensor_pb2 as _tensor_pb2
from protos.parley.v1 import tool_pb2 as _tool_pb2
from protos.parley.v1 import usage_pb2 as _usage_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STATE_UNSPECIFIED: _ClassVar[State]
    STATE_SPEECH: _ClassVar[State]
    STATE_TEXT: _ClassVar[State]
    STATE_NOTHING: _ClassVar[State]
STATE_UNSPECIFIED: State
STATE_SPEECH: State
STATE_TEXT: State
STATE_NOTHING: State

class GenerateRequest(_message.Message):
    __slots__ = ("sequence", "open", "part", "respond", "embeddings")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    OPEN_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    RESPOND_FIELD_NUMBER: _ClassVar[int]
    EMBEDDINGS_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    open: GenerateOpen
    part: Part
    respond: GenerateRespond
    embeddings: _tensor_pb2.Embeddings
    def __init__(self, sequence: _Optional[int] = ..., open: _Optional[_Union[GenerateOpen, _Mapping]] = ..., part: _Optional[_Union[Part, _Mapping]] = ..., respond: _Optional[_Union[GenerateRespond, _Mapping]] = ..., embeddings: _Optional[_Union[_tensor_pb2.Embeddings, _Mapping]] = ...) -> None: ...

class GenerateOpen(_message.Message):
    __slots__ = ("session_id", "turn_id", "deadline_ms", "messages", "sampling", "max_history_tokens", "tools", "tool_choice", "tool_name", "max_calls", "beginning")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    TURN_ID_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_FIELD_NUMBER: _ClassVar[int]
    MAX_HISTORY_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TOOLS_FIELD_NUMBER: _ClassVar[int]
    TOOL_CHOICE_FIELD_NUMBER: _ClassVar[int]
    TOOL_NAME_FIELD_NUMBER: _ClassVar[int]
    MAX_CALLS_FIELD_NUMBER: _ClassVar[int]
    BEGINNING_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    turn_id: str
    deadline_ms: int
    messages: _containers.RepeatedCompositeFieldContainer[Message]
    sampling: Sampling
    max_history_tokens: int
    tools: _containers.RepeatedCompositeFieldContainer[_tool_pb2.Tool]
    tool_choice: _tool_pb2.ToolChoice
    tool_name: str
    max_calls: int
    beginning: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, session_id: _Optional[str] = ..., turn_id: _Optional[str] = ..., deadline_ms: _Optional[int] = ..., messages: _Optional[_Iterable[_Union[Message, _Mapping]]] = ..., sampling: _Optional[_Union[Sampling, _Mapping]] = ..., max_history_tokens: _Optional[int] = ..., tools: _Optional[_Iterable[_Union[_tool_pb2.Tool, _Mapping]]] = ..., tool_choice: _Optional[_Union[_tool_pb2.ToolChoice, str]] = ..., tool_name: _Optional[str] = ..., max_calls: _Optional[int] = ..., beginning: _Optional[_Iterable[int]] = ...) -> None: ...

class Message(_message.Message):
    __slots__ = ("role", "parts", "calls")
    class Role(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        ROLE_UNSPECIFIED: _ClassVar[Message.Role]
        ROLE_SYSTEM: _ClassVar[Message.Role]
        ROLE_USER: _ClassVar[Message.Role]
        ROLE_ASSISTANT: _ClassVar[Message.Role]
    ROLE_UNSPECIFIED: Message.Role
    ROLE_SYSTEM: Message.Role
    ROLE_USER: Message.Role
    ROLE_ASSISTANT: Message.Role
    ROLE_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    role: Message.Role
    parts: _containers.RepeatedCompositeFieldContainer[Part]
    calls: _containers.RepeatedCompositeFieldContainer[_tool_pb2.FunctionCall]
    def __init__(self, role: _Optional[_Union[Message.Role, str]] = ..., parts: _Optional[_Iterable[_Union[Part, _Mapping]]] = ..., calls: _Optional[_Iterable[_Union[_tool_pb2.FunctionCall, _Mapping]]] = ...) -> None: ...

class Part(_message.Message):
    __slots__ = ("text", "image", "speech", "utterance", "outputs", "fallback")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    SPEECH_FIELD_NUMBER: _ClassVar[int]
    UTTERANCE_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    FALLBACK_FIELD_NUMBER: _ClassVar[int]
    text: str
    image: _tensor_pb2.EmbeddingRef
    speech: _tensor_pb2.Tensor
    utterance: _tensor_pb2.EmbeddingRef
    outputs: _tool_pb2.FunctionOutputs
    fallback: str
    def __init__(self, text: _Optional[str] = ..., image: _Optional[_Union[_tensor_pb2.EmbeddingRef, _Mapping]] = ..., speech: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ..., utterance: _Optional[_Union[_tensor_pb2.EmbeddingRef, _Mapping]] = ..., outputs: _Optional[_Union[_tool_pb2.FunctionOutputs, _Mapping]] = ..., fallback: _Optional[str] = ...) -> None: ...

class Sampling(_message.Message):
    __slots__ = ("temperature", "top_p", "top_k", "seed", "max_tokens", "stop")
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    TOP_P_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    temperature: float
    top_p: float
    top_k: int
    seed: int
    max_tokens: int
    stop: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, temperature: _Optional[float] = ..., top_p: _Optional[float] = ..., top_k: _Optional[int] = ..., seed: _Optional[int] = ..., max_tokens: _Optional[int] = ..., stop: _Optional[_Iterable[str]] = ...) -> None: ...

class GenerateRespond(_message.Message):
    __slots__ = ("utterance", "only_state")
    UTTERANCE_FIELD_NUMBER: _ClassVar[int]
    ONLY_STATE_FIELD_NUMBER: _ClassVar[int]
    utterance: _tensor_pb2.EmbeddingRef
    only_state: bool
    def __init__(self, utterance: _Optional[_Union[_tensor_pb2.EmbeddingRef, _Mapping]] = ..., only_state: _Optional[bool] = ...) -> None: ...

class GenerateResponse(_message.Message):
    __slots__ = ("sequence", "state", "token", "done", "missing")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    state: StateDecision
    token: Token
    done: GenerateDone
    missing: Missing
    def __init__(self, sequence: _Optional[int] = ..., state: _Optional[_Union[StateDecision, _Mapping]] = ..., token: _Optional[_Union[Token, _Mapping]] = ..., done: _Optional[_Union[GenerateDone, _Mapping]] = ..., missing: _Optional[_Union[Missing, _Mapping]] = ...) -> None: ...

class Missing(_message.Message):
    __slots__ = ("refs",)
    REFS_FIELD_NUMBER: _ClassVar[int]
    refs: _containers.RepeatedCompositeFieldContainer[_tensor_pb2.EmbeddingRef]
    def __init__(self, refs: _Optional[_Iterable[_Union[_tensor_pb2.EmbeddingRef, _Mapping]]] = ...) -> None: ...

class StateDecision(_message.Message):
    __slots__ = ("state", "probabilities", "complete")
    STATE_FIELD_NUMBER: _ClassVar[int]
    PROBABILITIES_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    state: State
    probabilities: _containers.RepeatedScalarFieldContainer[float]
    complete: float
    def __init__(self, state: _Optional[_Union[State, str]] = ..., probabilities: _Optional[_Iterable[float]] = ..., complete: _Optional[float] = ...) -> None: ...

class Token(_message.Message):
    __slots__ = ("id", "text", "call", "call_done")
    ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    CALL_FIELD_NUMBER: _ClassVar[int]
    CALL_DONE_FIELD_NUMBER: _ClassVar[int]
    id: int
    text: str
    call: int
    call_done: bool
    def __init__(self, id: _Optional[int] = ..., text: _Optional[str] = ..., call: _Optional[int] = ..., call_done: _Optional[bool] = ...) -> None: ...

class GenerateDone(_message.Message):
    __slots__ = ("finish_reason", "text", "usage", "prefill_seconds", "decode_seconds", "first_token_seconds", "dropped_messages", "weights")
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    PREFILL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    DECODE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    FIRST_TOKEN_SECONDS_FIELD_NUMBER: _ClassVar[int]
    DROPPED_MESSAGES_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    finish_reason: _usage_pb2.FinishReason
    text: str
    usage: _usage_pb2.Usage
    prefill_seconds: float
    decode_seconds: float
    first_token_seconds: float
    dropped_messages: int
    weights: str
    def __init__(self, finish_reason: _Optional[_Union[_usage_pb2.FinishReason, str]] = ..., text: _Optional[str] = ..., usage: _Optional[_Union[_usage_pb2.Usage, _Mapping]] = ..., prefill_seconds: _Optional[float] = ..., decode_seconds: _Optional[float] = ..., first_token_seconds: _Optional[float] = ..., dropped_messages: _Optional[int] = ..., weights: _Optional[str] = ...) -> None: ...
