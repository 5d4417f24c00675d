"""Events of an answer → a chat completion, or the chunks of one."""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from openai.types import CompletionUsage
from openai.types.chat import (
    ChatCompletion,
    ChatCompletionAudio,
    ChatCompletionChunk,
    ChatCompletionMessage,
    ChatCompletionMessageFunctionToolCall,
)
from openai.types.chat.chat_completion import Choice
from openai.types.chat.chat_completion_chunk import Choice as ChunkChoice
from openai.types.chat.chat_completion_chunk import ChoiceDelta, ChoiceDeltaToolCall, ChoiceDeltaToolCallFunction
from openai.types.chat.chat_completion_message_function_tool_call import Function

from services.gateway.events import (
    AudioDelta,
    Body,
    FunctionCallDelta,
    FunctionCallDone,
    TextDelta,
    TurnDone,
    Usage,
)
from services.gateway.media.audio_encoder import OutputResampler, encode_audio
from services.gateway.store.spoken_answers import LIFE_SECONDS

REASONS = {"stop": "stop", "length": "length", "nothing": "stop"}  # nothing: there was no question to answer


@dataclass
class ChatAnswer:
    """What is the same in all forms of one answer."""

    model: str
    audio_format: str = ""  # empty: it is only written
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(16)}")
    audio_id: str = field(default_factory=lambda: f"audio_{secrets.token_hex(16)}")
    created: int = field(default_factory=lambda: int(time.time()))
    calls: dict[str, FunctionCallDone] = field(default_factory=dict)
    text: str = ""
    audio: bytearray = field(default_factory=bytearray)  # 16-bit, at OUTPUT_RATE
    done: TurnDone | None = None
    _resampler: OutputResampler = field(default_factory=OutputResampler)

    @property
    def spoken(self) -> bool:
        return bool(self.audio_format)

    @property
    def expires_at(self) -> int:
        return self.created + LIFE_SECONDS

    @property
    def finish_reason(self) -> str:
        return "tool_calls" if self.calls else REASONS.get(self.done.finish_reason, "stop")

    def samples(self, delta: AudioDelta) -> bytes:
        """16-bit, at OUTPUT_RATE."""
        return self._resampler.feed(delta.audio, delta.sample_rate)

    def last_samples(self) -> bytes:
        return self._resampler.flush()

    def add(self, body: Body) -> None:
        """Collects an event, for `completion`."""
        match body:
            case TextDelta():
                self.text += body.text
            case AudioDelta():
                self.audio += self.samples(body)
            case FunctionCallDone():
                self.calls[body.call_id] = body
            case TurnDone():
                self.audio += self.last_samples()
                self.done = body

    def completion(self, count: Callable[[Usage], CompletionUsage]) -> ChatCompletion:
        """The whole answer. Encodes its audio: not for an event loop where it is spoken."""
        message = ChatCompletionMessage(role="assistant", content=self._content(), refusal=None)
        if self.spoken and self.text:
            message.audio = self._audio()
        if self.calls:
            message.tool_calls = [_tool_call(call) for call in self.calls.values()]
        choice = Choice(index=0, message=message, logprobs=None, finish_reason=self.finish_reason)
        return ChatCompletion(
            id=self.id,
            object="chat.completion",
            created=self.created,
            model=self.model,
            choices=[choice],
            usage=count(self.done.usage),
        )

    def _content(self) -> str | None:
        """Null where the text is the transcript of the audio, or there are only calls."""
        if self.spoken and self.text:
            return None
        return self.text or (None if self.calls else "")

    def _audio(self) -> ChatCompletionAudio:
        data = encode_audio(bytes(self.audio), "pcm" if self.audio_format == "pcm16" else self.audio_format)
        encoded = base64.b64encode(data).decode()
        return ChatCompletionAudio(id=self.audio_id, data=encoded, transcript=self.text, expires_at=self.expires_at)


class Chunks:
    """The chunks that tell an answer's events, in order."""

    def __init__(self, answer: ChatAnswer, include_usage: bool):
        self._answer, self._include_usage = answer, include_usage
        self._indices: dict[str, int] = {}  # of calls, by their id
        self._begun = False

    def of(self, body: Body) -> Iterator[ChatCompletionChunk]:
        """The chunks of one event, of which the answer is told too."""
        if not self._begun:
            self._begun = True
            yield self._opening()
        match body:
            case TextDelta() if self._answer.spoken:
                yield self._chunk(audio={"transcript": body.text})
            case TextDelta():
                yield self._chunk(content=body.text)
            case AudioDelta():
                yield from self._audio(self._answer.samples(body))
            case FunctionCallDelta():
                yield self._chunk(tool_calls=[self._call(body)])
            case FunctionCallDone():
                self._answer.calls[body.call_id] = body
            case TurnDone():
                yield from self._audio(self._answer.last_samples())
                self._answer.done = body
        if isinstance(body, TextDelta):
            self._answer.text += body.text

    def closing(self, usage: CompletionUsage) -> Iterator[ChatCompletionChunk]:
        if self._answer.spoken:
            yield self._chunk(audio={"expires_at": self._answer.expires_at})
        yield self._chunk(finish_reason=self._answer.finish_reason)
        if self._include_usage:
            yield ChatCompletionChunk(**self._common(), choices=[], usage=usage)

    def _opening(self) -> ChatCompletionChunk:
        if self._answer.spoken:
            return self._chunk(role="assistant", audio={"id": self._answer.audio_id})
        return self._chunk(role="assistant", content="", refusal=None)

    def _audio(self, samples: bytes) -> Iterator[ChatCompletionChunk]:
        if samples:
            yield self._chunk(audio={"data": base64.b64encode(samples).decode()})

    def _call(self, body: FunctionCallDelta) -> ChoiceDeltaToolCall:
        """The first of a call has its id and name."""
        first = body.call_id not in self._indices
        index = self._indices.setdefault(body.call_id, len(self._indices))
        if not first:
            return ChoiceDeltaToolCall(index=index, function=ChoiceDeltaToolCallFunction(arguments=body.arguments))
        function = ChoiceDeltaToolCallFunction(name=body.name, arguments=body.arguments)
        return ChoiceDeltaToolCall(index=index, id=body.call_id, type="function", function=function)

    def _chunk(self, finish_reason: str | None = None, **delta: Any) -> ChatCompletionChunk:
        choice = ChunkChoice(index=0, delta=ChoiceDelta(**delta), finish_reason=finish_reason, logprobs=None)
        usage = {"usage": None} if self._include_usage else {}
        return ChatCompletionChunk(**self._common(), choices=[choice], **usage)

    def _common(self) -> dict[str, Any]:
        answer = self._answer
        return {
            "id": answer.id,
            "object": "chat.completion.chunk",
            "created": answer.created,
            "model": answer.model,
        }


def _tool_call(call: FunctionCallDone) -> ChatCompletionMessageFunctionToolCall:
    function = Function(name=call.name, arguments=call.arguments)
    return ChatCompletionMessageFunctionToolCall(id=call.call_id, type="function", function=function)
