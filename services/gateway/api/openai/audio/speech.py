"""`/v1/audio/speech`: a text, spoken; as a file that begins with the first audio, or as server-sent events."""

from __future__ import annotations

import base64
import contextlib
import secrets
from collections.abc import AsyncGenerator
from typing import Annotated, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from services.gateway.access.access import AudioUsedUpError, Caller
from services.gateway.api.backend import Backend
from services.gateway.api.openai.chat.request import CustomVoice
from services.gateway.api.openai.fields import Ignored, Strict
from services.gateway.api.openai.names import ModelNames, speaker_of
from services.gateway.api.openai.streaming import server_sent, stream
from services.gateway.conversation.speak import speak
from services.gateway.events import AudioDelta
from services.gateway.media.audio_encoder import MEDIA_TYPES, AudioEncoder, OutputResampler
from services.gateway.turn.synthesize import Speech


class SpeechRequest(Strict):
    model: str
    input: str = Field(min_length=1, max_length=4096)
    voice: str | CustomVoice = Field(description="A voice of OpenAI or a speaker of the checkpoint")
    response_format: Literal["mp3", "opus", "flac", "wav", "pcm"] = Field(
        "mp3", description="opus lies in Ogg; pcm is 16-bit little-endian mono at 24 kHz; flac is sent when it is whole"
    )
    speed: Annotated[float, Field(ge=1, le=1)] | None = None
    stream_format: Literal["audio", "sse"] | None = None
    instructions: Ignored = None


class SpeechUsage(BaseModel):
    input_tokens: int
    output_tokens: int  # codec frames
    total_tokens: int


class SpeechDelta(BaseModel):
    type: Literal["speech.audio.delta"]
    audio: str  # base64


class SpeechDone(BaseModel):
    type: Literal["speech.audio.done"]
    usage: SpeechUsage


def add_routes(router: APIRouter, backend: Backend, names: ModelNames) -> None:
    binary = {"schema": {"type": "string", "format": "binary"}}
    content = {media_type: binary for media_type in MEDIA_TYPES.values()}
    content["text/event-stream"] = {"schema": {"type": "string", "description": "Lines `data: {event}`"}}

    @router.post("/audio/speech", response_class=Response, responses={200: {"content": content}})
    async def create_speech(body: SpeechRequest, request: Request) -> Response:
        """Speaks a text."""
        names.resolve(body.model)
        spoken = SpokenText(backend, body, request.state.caller)
        if body.stream_format == "sse":
            return await server_sent(request, spoken.events())
        return await stream(request, spoken.pieces(), MEDIA_TYPES[body.response_format])


class SpokenText:
    """One request."""

    def __init__(self, backend: Backend, body: SpeechRequest, caller: Caller):
        self._backend, self._body, self._caller = backend, body, caller
        self.usage: SpeechUsage | None = None  # once it is whole

    async def events(self) -> AsyncGenerator[SpeechDelta | SpeechDone, None]:
        async with contextlib.aclosing(self.pieces()) as pieces:
            async for piece in pieces:
                yield SpeechDelta(type="speech.audio.delta", audio=base64.b64encode(piece).decode())
        yield SpeechDone(type="speech.audio.done", usage=self.usage)

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """The bytes of the file, as they come; none is empty."""
        encoder, resampler = AudioEncoder(self._body.response_format), OutputResampler()
        async with contextlib.aclosing(self._audio()) as deltas:
            async for delta in deltas:
                if piece := await encoder.next(resampler.feed(delta.audio, delta.sample_rate)):
                    yield piece
        if piece := await encoder.next(resampler.flush(), last=True):
            yield piece

    async def _audio(self) -> AsyncGenerator[AudioDelta, None]:
        """By the release that is current now. It counts as it comes: a client may go away before its end."""
        await self._backend.access.audio_left(self._caller)
        seconds = self._backend.settings.conversation.max_turn_seconds
        with self._backend.releases.bind() as calls:
            decoder = await calls.describe("speech_decoder")
            voice = self._body.voice if isinstance(self._body.voice, str) else self._body.voice.id
            speaker = speaker_of(voice, [speaker.name for speaker in decoder.speakers])
            speech = Speech(speaker, seed=secrets.randbits(31) + 1)
            async with contextlib.aclosing(speak(self._body.input, speech, calls, seconds)) as bodies:
                async for body in bodies:
                    if isinstance(body, AudioDelta):
                        with contextlib.suppress(AudioUsedUpError):  # the next request is refused
                            await self._backend.access.audio(self._caller, body.seconds)
                        yield body
                    else:
                        self._finish(body.usage, decoder.codec_frame_rate)

    def _finish(self, usage, frame_rate: float) -> None:
        frames = round(usage.audio_output_seconds * frame_rate)
        tokens = usage.prompt_tokens
        self.usage = SpeechUsage(input_tokens=tokens, output_tokens=frames, total_tokens=tokens + frames)
