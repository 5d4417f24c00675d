"""The body of `/v1/chat/completions`: what is served of it, what is accepted without effect, what is refused.

The types of the `openai` package do not fit: they allow all that OpenAI serves, and ignore what they do not know.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from services.gateway.api.openai.fields import Ignored, RefusedError, Strict, Unsupported

# Content of messages.


class TextPart(Strict):
    type: Literal["text"]
    text: str
    prompt_cache_breakpoint: Ignored = None


class Url(Strict):
    url: str = Field(description="A `data:` URL in base64; others only where the gateway's settings allow them")
    detail: Literal["auto", "low", "high"] | None = Field(None, description="Accepted, without effect.")


class ImagePart(Strict):
    type: Literal["image_url"]
    image_url: Url
    prompt_cache_breakpoint: Ignored = None


class VideoPart(Strict):
    """A video file; frames are taken from it."""

    type: Literal["video_url"]
    video_url: Url


class FramesPart(Strict):
    """Frames of a video, in order."""

    type: Literal["video"]
    video: list[str] = Field(min_length=1, description="Pictures as `data:` URLs")


class InputAudio(Strict):
    data: str = Field(description="A file in base64")
    format: Literal["wav", "mp3"]


class AudioPart(Strict):
    type: Literal["input_audio"]
    input_audio: InputAudio
    prompt_cache_breakpoint: Ignored = None


class RefusalPart(Strict):
    type: Literal["refusal"]
    refusal: str


UserPart = Annotated[TextPart | ImagePart | AudioPart | VideoPart | FramesPart, Field(discriminator="type")]
AssistantPart = Annotated[TextPart | RefusalPart, Field(discriminator="type")]


def _kind(content: Any) -> str:
    return "parts" if isinstance(content, list) else "string"


def _string_or(listed: Any, string: Any = str) -> Any:
    """A string, or a list."""
    return Annotated[Annotated[string, Tag("string")] | Annotated[listed, Tag("parts")], Discriminator(_kind)]


def _text_or(part: Any) -> Any:
    return _string_or(Annotated[list[part], Field(min_length=1)])


# Messages.


class SystemMessage(Strict):
    role: Literal["system", "developer"]
    content: _text_or(TextPart)
    name: Ignored = None


class UserMessage(Strict):
    role: Literal["user"]
    content: _text_or(UserPart)
    name: Ignored = None


class FunctionCall(Strict):
    name: str = Field(min_length=1)
    arguments: str


class ToolCall(Strict):
    id: str = Field(min_length=1)
    type: Literal["function"]
    function: FunctionCall


class AudioReference(Strict):
    id: str = Field(description="Of an earlier answer")


class AssistantMessage(Strict):
    role: Literal["assistant"]
    content: _text_or(AssistantPart) | None = None
    refusal: str | None = None
    audio: AudioReference | None = None
    tool_calls: list[ToolCall] | None = None
    function_call: Unsupported = None
    annotations: Ignored = None
    name: Ignored = None


class ToolMessage(Strict):
    role: Literal["tool"]
    content: _text_or(TextPart)
    tool_call_id: str = Field(min_length=1)


Message = Annotated[SystemMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")]


# Tools.


class Function(Strict):
    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: Ignored = None


class FunctionTool(Strict):
    type: Literal["function"]
    function: Function


class NamedFunction(Strict):
    name: str


class NamedTool(Strict):
    type: Literal["function"]
    function: NamedFunction


# The answer.


class CustomVoice(Strict):
    id: str


class AudioOutput(Strict):
    voice: str | CustomVoice = Field(description="A voice of OpenAI or a speaker of the checkpoint")
    format: Literal["wav", "mp3", "flac", "opus", "pcm16"]

    @property
    def voice_name(self) -> str:
        return self.voice if isinstance(self.voice, str) else self.voice.id


class StreamOptions(Strict):
    include_usage: bool | None = None
    include_obfuscation: Ignored = None


class ResponseFormat(Strict):
    type: Literal["text"]


Stop = Annotated[str, Field(min_length=1, max_length=64)]


class ChatRequest(Strict):
    model: str
    messages: list[Message] = Field(min_length=1)
    modalities: list[Literal["text", "audio"]] | None = Field(None, min_length=1)
    audio: AudioOutput | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: float | None = Field(None, ge=0, le=2, allow_inf_nan=False, description="0 and absent: greedy")
    top_p: float | None = Field(None, ge=0, le=1, allow_inf_nan=False)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    stop: _string_or(Annotated[list[Stop], Field(max_length=4)], Stop) | None = None
    max_completion_tokens: int | None = Field(None, ge=1, lt=2**31)
    max_tokens: int | None = Field(None, ge=1, lt=2**31, description="The old name of max_completion_tokens")
    tools: list[FunctionTool] | None = Field(None, max_length=128)
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = Field(None, description="false: the answer ends after its first call")

    # Only the value that changes nothing.
    n: Literal[1] | None = None
    logprobs: Literal[False] | None = None
    frequency_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    presence_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    logit_bias: Annotated[dict[str, float], Field(max_length=0)] | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: Literal["none"] | None = None
    verbosity: Literal["medium"] | None = None

    top_logprobs: Unsupported = None
    functions: Unsupported = None
    function_call: Unsupported = None
    prediction: Unsupported = None
    web_search_options: Unsupported = None
    moderation: Unsupported = None

    user: Ignored = None
    store: Ignored = None
    metadata: Ignored = None
    service_tier: Ignored = None
    safety_identifier: Ignored = None
    prompt_cache_key: Ignored = None
    prompt_cache_retention: Ignored = None
    prompt_cache_options: Ignored = None

    @model_validator(mode="after")
    def _check_together(self) -> ChatRequest:
        """What only makes sense together."""
        if self.modalities is not None and "text" not in self.modalities:
            raise RefusedError("modalities", "must hold text: audio comes with its transcript")
        if self.spoken and self.audio is None:
            raise RefusedError("audio", "{voice, format} is needed for the modality audio")
        if self.audio is not None and not self.spoken:
            raise RefusedError("audio", "goes with the modality audio only")
        if self.stream and self.audio is not None and self.audio.format != "pcm16":
            raise RefusedError("audio.format", f"is {self.audio.format}, which cannot be streamed; ask for pcm16")
        if self.stream_options is not None and not self.stream:
            raise RefusedError("stream_options", "goes with stream: true only")
        if self.max_tokens is not None and self.max_completion_tokens is not None:
            raise RefusedError("max_tokens", "is the old name of max_completion_tokens; send one of them")
        self._check_tool_choice()
        return self

    def _check_tool_choice(self) -> None:
        names = [tool.function.name for tool in self.tools or ()]
        if self.tool_choice in ("auto", "required") and not names:
            raise RefusedError("tool_choice", f"is {self.tool_choice}, but there are no tools")
        if isinstance(self.tool_choice, NamedTool) and self.tool_choice.function.name not in names:
            raise RefusedError("tool_choice.function.name", "names none of the tools")

    @property
    def spoken(self) -> bool:
        return "audio" in (self.modalities or ())

    @property
    def stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
