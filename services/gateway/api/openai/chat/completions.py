"""`/v1/chat/completions`: from a request to its answer, whole or as chunks."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncGenerator

from fastapi import APIRouter, Request
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from starlette.responses import JSONResponse, Response

from services.gateway.access.access import AudioUsedUpError, Caller
from services.gateway.api.backend import Backend
from services.gateway.api.openai.chat.answer import ChatAnswer, Chunks
from services.gateway.api.openai.chat.messages import MessageReader, beginning_of
from services.gateway.api.openai.chat.request import ChatRequest, NamedTool
from services.gateway.api.openai.media_urls import MediaUrls
from services.gateway.api.openai.names import ModelNames, speaker_of
from services.gateway.api.openai.streaming import DONE, server_sent, while_connected
from services.gateway.api.openai.usage import completion_usage
from services.gateway.conversation.stateless import StatelessTurn
from services.gateway.events import AudioDelta, Body, Usage
from services.gateway.events.session import SamplingConfig, SessionConfig, Tool
from services.gateway.upstream.calls import Calls


def add_routes(router: APIRouter, backend: Backend, names: ModelNames, urls: MediaUrls) -> None:
    streamed = {"text/event-stream": {"schema": {"type": "string", "description": "Lines `data: {chunk}`"}}}

    @router.post("/chat/completions", response_model=ChatCompletion, responses={200: {"content": streamed}})
    async def complete_chat(body: ChatRequest, request: Request) -> Response:
        """Answers the last message, in writing or aloud."""
        answer = ChatAnswer(names.resolve(body.model), body.audio.format if body.audio is not None else "")
        chat = Chat(backend, urls, body, answer, request.state.caller)
        if body.stream:
            return await server_sent(request, chat.chunks(), DONE)
        completion = await while_connected(request.receive, chat.completion())
        return JSONResponse(completion.model_dump(mode="json", exclude_unset=True))


class Chat:
    """One request."""

    def __init__(self, backend: Backend, urls: MediaUrls, body: ChatRequest, answer: ChatAnswer, caller: Caller):
        self._backend, self._urls = backend, urls
        self._body, self._answer, self._caller = body, answer, caller
        self._reader: MessageReader | None = None
        self._frame_rate = 0.0  # codec frames a second of audio

    async def completion(self) -> ChatCompletion:
        async with contextlib.aclosing(self._bodies()) as bodies:
            async for body in bodies:
                self._answer.add(body)
        await self._keep()
        return await asyncio.to_thread(self._answer.completion, self._count)

    async def chunks(self) -> AsyncGenerator[ChatCompletionChunk, None]:
        options = self._body.stream_options
        chunks = Chunks(self._answer, include_usage=bool(options and options.include_usage))
        async with contextlib.aclosing(self._bodies()) as bodies:
            async for body in bodies:
                for chunk in chunks.of(body):
                    yield chunk
        await self._keep()
        for chunk in chunks.closing(self._count(self._answer.done.usage)):
            yield chunk

    async def _bodies(self) -> AsyncGenerator[Body, None]:
        """The events of the answer, by the release that is current now. Audio counts as it comes: a client may go away
        before its end.
        """
        backend, settings = self._backend, self._backend.settings
        if self._body.spoken:
            await backend.access.audio_left(self._caller)
        with backend.releases.bind() as calls:
            config = await self._config(calls)
            turn = StatelessTurn(
                calls, backend.store, settings.conversation, settings.media, session_id=self._session_id()
            )
            self._reader = MessageReader(
                turn, self._urls, self._transcript, self._count_audio, settings.conversation, settings.media
            )
            instructions, items = await self._reader.read(self._body)
            config = config.model_copy(update={"instructions": instructions})
            async with contextlib.aclosing(turn.answer(items, config)) as bodies:
                async for body in bodies:
                    if isinstance(body, AudioDelta):
                        with contextlib.suppress(AudioUsedUpError):  # the next request is refused
                            await self._count_audio(body.seconds)
                    yield body

    async def _config(self, calls: Calls) -> SessionConfig:
        body, speaker = self._body, ""
        if body.audio is not None:
            decoder = await calls.describe("speech_decoder")
            self._frame_rate = decoder.codec_frame_rate
            speaker = speaker_of(body.audio.voice_name, [speaker.name for speaker in decoder.speakers])
        named = isinstance(body.tool_choice, NamedTool)
        return SessionConfig(
            sampling=_sampling(body),
            text_only=not body.spoken,
            speaker=speaker,
            tools=tuple(
                Tool(name=f.name, description=f.description or "", parameters=f.parameters or {})
                for f in (tool.function for tool in body.tools or ())
            ),
            tool_choice="function" if named else body.tool_choice or "auto",
            tool_name=body.tool_choice.function.name if named else "",
            parallel_tool_calls=body.parallel_tool_calls is not False,
        )

    def _session_id(self) -> str:
        """The same for requests that begin the same: the next request of a chat finds its KV cache."""
        messages = self._body.messages
        first = next((message for message in messages if message.role == "user"), messages[0])
        begin = json.dumps([self._caller.key_id, beginning_of(messages[0]), beginning_of(first)])
        return f"chat_{hashlib.sha256(begin.encode()).hexdigest()[:32]}"

    def _count(self, usage: Usage) -> CompletionUsage:
        reader = self._reader
        return completion_usage(usage, reader.image_embeddings, reader.audio_embeddings, self._frame_rate)

    async def _count_audio(self, seconds: float) -> None:
        await self._backend.access.audio(self._caller, seconds)

    async def _transcript(self, answer_id: str) -> str | None:
        return await self._backend.store.spoken_answers.get(self._caller.key_id, answer_id)

    async def _keep(self) -> None:
        """A spoken answer can be named by a later request."""
        if self._answer.spoken:
            owner = self._caller.key_id
            await self._backend.store.spoken_answers.put(owner, self._answer.audio_id, self._answer.text)


def _sampling(body: ChatRequest) -> SamplingConfig:
    """The service takes 0 for none: a seed of ours is a positive number, and a `top_p` of 0 means a greedy answer."""
    return SamplingConfig(
        temperature=0.0 if body.top_p == 0 else body.temperature or 0.0,
        top_p=body.top_p or 0.0,
        seed=0 if body.seed is None else 1 + body.seed % (1 << 62),
        max_tokens=body.max_completion_tokens or body.max_tokens or 0,
        stop=body.stops,
    )
