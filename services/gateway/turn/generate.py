"""Generate: messages and the parts of a new one in, the state and the answer's tokens out."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import grpc

from protos.parley.v1.language_model_pb2 import (
    GenerateDone,
    GenerateOpen,
    GenerateRequest,
    GenerateRespond,
    Message,
    Part,
    Sampling,
    StateDecision,
    Token,
)
from protos.parley.v1.tensor_pb2 import EmbeddingRef, Embeddings, Tensor
from protos.parley.v1.tool_pb2 import TOOL_CHOICE_AUTO, Tool
from services.gateway.turn.input_log import InputLog
from services.gateway.upstream.calls import CallContext, Calls, ConnectionLostError, Stream
from services.rpc.errors import ServiceError


@dataclass
class Prompt:
    """What is to be answered. `parts` of the user's message come while it is spoken; closed, it is complete."""

    messages: Sequence[Message] = ()  # system prompt and history
    opening: Sequence[Part] = ()  # of the user's message, known before it is spoken
    parts: InputLog[Part] = field(default_factory=InputLog)
    sampling: Sampling = field(default_factory=Sampling)
    max_history_tokens: int = 0  # 0: all messages are read
    tools: Sequence[Tool] = ()  # functions that the answer may call
    tool_choice: int = TOOL_CHOICE_AUTO
    tool_name: str = ""  # of the function that it must call, with TOOL_CHOICE_FUNCTION
    max_calls: int = 0  # 0: any number
    utterance: EmbeddingRef | None = None  # names the message's speech; set before `parts` is closed
    beginning: Sequence[int] = ()  # ids of the tokens that an answer, which goes on, had before; not with tools
    only_state: bool = False  # nothing is generated; set before `parts` is closed

    def count(self, kind: Literal["utterance", "image"]) -> int:
        """Embeddings of a kind in what comes before the user's new message, and in its opening."""
        parts = itertools.chain(self.opening, *(message.parts for message in self.messages))
        return sum(getattr(part, kind).length for part in parts if part.WhichOneof("part") == kind)


def opening_of(prompt: Prompt) -> GenerateOpen:
    """What is known of it before its parts; of no call yet."""
    return GenerateOpen(
        messages=prompt.messages,
        sampling=prompt.sampling,
        max_history_tokens=prompt.max_history_tokens,
        tools=prompt.tools,
        tool_choice=prompt.tool_choice,
        tool_name=prompt.tool_name,
        max_calls=prompt.max_calls,
        beginning=prompt.beginning,
    )


def prompt_of(opening: GenerateOpen) -> Prompt:
    """What `opening_of` was made of."""
    return Prompt(
        messages=opening.messages,
        sampling=opening.sampling,
        max_history_tokens=opening.max_history_tokens,
        tools=opening.tools,
        tool_choice=opening.tool_choice,
        tool_name=opening.tool_name,
        max_calls=opening.max_calls,
        beginning=opening.beginning,
    )


class AnswerSink(Protocol):
    def on_state(self, decision: StateDecision) -> None: ...

    async def on_token(self, token: Token) -> None:
        """May wait: the language model then waits too."""


Resolve = Callable[[EmbeddingRef], Awaitable[Tensor | None]]  # a reference → its embeddings, None where they are gone


class Answering:
    """How far an answer has come, over all attempts: the sink is told everything once."""

    def __init__(self, sink: AnswerSink):
        self._sink = sink
        self._decided = False
        self.ids: list[int] = []  # of its tokens

    def state(self, decision: StateDecision) -> None:
        if not self._decided:
            self._decided = True
            self._sink.on_state(decision)

    async def token(self, number: int, token: Token) -> None:
        """Token `number` of an attempt. Raises ABORTED where it is not what an earlier attempt had there."""
        if number == len(self.ids):
            self.ids.append(token.id)
            await self._sink.on_token(token)
        elif self.ids[number] != token.id:
            message = "the answer was cut off by a lost connection and could not be continued; ask again"
            raise ServiceError(grpc.StatusCode.ABORTED, message, retry_after=0.5)


async def generate(
    prompt: Prompt, calls: Calls, sink: AnswerSink, context: CallContext, resolve: Resolve
) -> GenerateDone:
    """Returns how the answer ended. `prompt.sampling` must have a seed, so that a retry samples the same answer.

    A retry goes on behind the tokens that came; where functions may be called, it generates them anew and compares.
    The embeddings behind a reference are sent only where the LLM core lacks them.
    """
    answering = Answering(sink)

    async def attempt() -> GenerateDone:
        count = 0
        opening = opening_of(prompt)
        if not prompt.tools and len(answering.ids) > len(prompt.beginning):
            opening.beginning[:] = answering.ids
        async with calls.stream("llm_core", _requests(opening, prompt, context), context, keep_open=True) as answers:
            async for answer in answers:
                match answer.WhichOneof("message"):
                    case "missing":
                        await _send_missing(answers, answer.missing.refs, resolve)
                    case "state":
                        answering.state(answer.state)
                    case "token":
                        await answering.token(count, answer.token)
                        count += 1
                    case "done":
                        return answer.done
        raise ConnectionLostError("llm_core: the stream ended early")

    return await calls.until_done("llm_core", attempt)


async def _requests(
    opening: GenerateOpen, prompt: Prompt, context: CallContext
) -> AsyncGenerator[GenerateRequest, None]:
    opening.session_id, opening.turn_id, opening.deadline_ms = context.session_id, context.turn_id, context.deadline_ms
    yield GenerateRequest(open=opening)
    async for part in prompt.parts.read():
        yield GenerateRequest(part=part)
    yield GenerateRequest(respond=GenerateRespond(utterance=prompt.utterance, only_state=prompt.only_state))


async def _send_missing(stream: Stream, refs: Sequence[EmbeddingRef], resolve: Resolve) -> None:
    for ref in refs:
        await stream.send(GenerateRequest(embeddings=Embeddings(ref=ref, tensor=await resolve(ref))))
