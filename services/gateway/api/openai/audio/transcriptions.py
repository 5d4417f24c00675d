"""`/v1/audio/transcriptions`: a sound file in, its transcript out, by the CTC head of the speech encoder."""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections.abc import AsyncGenerator
from typing import Annotated, Literal

import grpc
import numpy as np
from fastapi import APIRouter, Form, Request, UploadFile
from openai.types.audio import (
    Transcription,
    TranscriptionSegment,
    TranscriptionTextDeltaEvent,
    TranscriptionTextDoneEvent,
    TranscriptionVerbose,
)
from openai.types.audio.transcription import UsageDuration
from openai.types.audio.transcription_text_done_event import Usage, UsageInputTokenDetails
from openai.types.audio.transcription_verbose import Usage as VerboseUsage
from pydantic import Field, model_validator
from starlette.responses import JSONResponse, PlainTextResponse, Response

from services.gateway.access.access import Caller
from services.gateway.api.backend import Backend
from services.gateway.api.openai.audio.subtitles import to_srt, to_vtt
from services.gateway.api.openai.errors import ApiError, error_of
from services.gateway.api.openai.fields import Ignored, RefusedError, Strict, Unsupported
from services.gateway.api.openai.names import ModelNames
from services.gateway.api.openai.streaming import server_sent, while_connected
from services.gateway.conversation.transcribe import Heard, transcribe
from services.gateway.media.audio_files import read_audio
from services.gateway.media.pauses import split
from services.rpc.errors import ServiceError

LONGEST_PIECE = 30.0  # seconds
PIECE_SECONDS = 90.0  # that the speech encoder may take for one


class TranscriptionRequest(Strict):
    file: UploadFile
    model: str
    response_format: Literal["json", "text", "srt", "verbose_json", "vtt"] = "json"
    stream: bool | None = None
    language: str | None = Field(None, max_length=64, description="Repeated in verbose_json; has no other effect")
    temperature: Annotated[float, Field(ge=0, le=0)] | None = Field(None, description="The transcript is not sampled")
    timestamp_granularities: list[Literal["segment"]] | None = Field(None, alias="timestamp_granularities[]")
    chunking_strategy: Ignored = None
    chunking_type: Ignored = Field(None, alias="chunking_strategy[type]")  # as clients send one with options
    chunking_prefix: Ignored = Field(None, alias="chunking_strategy[prefix_padding_ms]")
    chunking_silence: Ignored = Field(None, alias="chunking_strategy[silence_duration_ms]")
    chunking_threshold: Ignored = Field(None, alias="chunking_strategy[threshold]")
    prompt: Unsupported = None
    include: Unsupported = Field(None, alias="include[]")
    keywords: Unsupported = Field(None, alias="keywords[]")
    languages: Unsupported = Field(None, alias="languages[]")
    known_speaker_names: Unsupported = Field(None, alias="known_speaker_names[]")
    known_speaker_references: Unsupported = Field(None, alias="known_speaker_references[]")

    @model_validator(mode="after")
    def _check_together(self) -> TranscriptionRequest:
        if self.stream and self.response_format not in ("json", "text"):
            raise RefusedError("response_format", f"is {self.response_format}, which cannot be streamed; ask for json")
        if self.timestamp_granularities and self.response_format != "verbose_json":
            raise RefusedError("timestamp_granularities[]", "goes with response_format verbose_json only")
        return self


def add_routes(router: APIRouter, backend: Backend, names: ModelNames) -> None:
    text = {"schema": {"type": "string"}}
    content = {"text/plain": text, "text/event-stream": text}

    @router.post(
        "/audio/transcriptions",
        response_model=Transcription | TranscriptionVerbose,
        responses={200: {"content": content}},
    )
    async def create_transcription(
        body: Annotated[TranscriptionRequest, Form(media_type="multipart/form-data")], request: Request
    ) -> Response:
        """Writes down what is said in a sound file: WAV, FLAC, Ogg (Opus or Vorbis) or MP3."""
        names.resolve(body.model)
        recording = Recording(backend, body, request.state.caller)
        if body.stream:
            return await server_sent(request, recording.events())
        await while_connected(request.receive, recording.read())
        return recording.response()


class Recording:
    """One request."""

    def __init__(self, backend: Backend, body: TranscriptionRequest, caller: Caller):
        self._backend, self._body, self._caller = backend, body, caller
        self._heard: list[Heard] = []
        self._seconds, self._rate = 0.0, 0
        self._bytes = 0  # of samples

    @property
    def text(self) -> str:
        return " ".join(heard.text for heard in self._heard if heard.text)

    async def read(self) -> None:
        async with contextlib.aclosing(self._pieces()) as pieces:
            async for heard in pieces:
                self._add(heard)

    async def events(self) -> AsyncGenerator[TranscriptionTextDeltaEvent | TranscriptionTextDoneEvent, None]:
        sent = 0  # characters of the text
        async with contextlib.aclosing(self._pieces()) as pieces:
            async for heard in pieces:
                text = " ".join(filter(None, [self.text, heard.text]))
                if len(text) > sent:
                    yield TranscriptionTextDeltaEvent(type="transcript.text.delta", delta=text[sent:])
                    sent = len(text)
                self._add(heard)
        yield TranscriptionTextDoneEvent(type="transcript.text.done", text=self.text, usage=self._usage())

    def _add(self, heard: Heard) -> None:
        if heard.final:
            self._heard.append(heard)

    def response(self) -> Response:
        match self._body.response_format:
            case "text":
                return PlainTextResponse(self.text + "\n")
            case "srt":
                return PlainTextResponse(to_srt(self._segments()))
            case "vtt":
                return PlainTextResponse(to_vtt(self._segments()), media_type="text/vtt")
            case "verbose_json":
                return JSONResponse(self._verbose().model_dump(mode="json", exclude_unset=True))
        usage = UsageDuration(type="duration", seconds=self._seconds)
        return JSONResponse(Transcription(text=self.text, usage=usage).model_dump(mode="json", exclude_unset=True))

    async def _pieces(self) -> AsyncGenerator[Heard, None]:
        """By the release that is current now. What is wrong with the file is said of the field `file`."""
        holder = self._backend.memory.holder(lambda: self._bytes)
        with contextlib.closing(holder), self._backend.releases.bind() as calls:
            encoder = await calls.describe("speech_encoder")
            if not encoder.transcribes:
                raise ApiError("the speech encoder of this model writes no transcripts", "unsupported_value", "model")
            self._rate = encoder.input_sample_rate
            try:
                samples = await self._samples()
                holder.check(samples.nbytes)
                self._bytes = samples.nbytes
                longest = min(LONGEST_PIECE, encoder.max_audio_seconds)
                spans = await asyncio.to_thread(split, samples, self._rate, longest)
                async with contextlib.aclosing(transcribe(samples, spans, self._rate, calls, PIECE_SECONDS)) as pieces:
                    async for heard in pieces:
                        yield heard
            except ServiceError as error:
                raise _of_file(error) from error

    async def _samples(self) -> np.ndarray:
        """int16, at the encoder's rate."""
        await self._backend.access.audio_left(self._caller)
        data = await self._body.file.read()
        longest = self._backend.settings.api.max_transcription_seconds
        samples = np.frombuffer(await asyncio.to_thread(read_audio, data, self._rate, longest), "<i2")
        self._seconds = len(samples) / self._rate
        await self._backend.access.audio(self._caller, self._seconds)
        return samples

    def _segments(self) -> list[TranscriptionSegment]:
        """The pieces in which something was said. What a CTC head does not measure is 0."""
        return [
            TranscriptionSegment(
                id=number,
                seek=0,
                start=round(heard.span.first / self._rate, 3),
                end=round(heard.span.last / self._rate, 3),
                text=heard.text,
                tokens=[],
                temperature=0.0,
                avg_logprob=0.0,
                compression_ratio=_compression_ratio(heard.text),
                no_speech_prob=0.0,
            )
            for number, heard in enumerate(heard for heard in self._heard if heard.text)
        ]

    def _verbose(self) -> TranscriptionVerbose:
        return TranscriptionVerbose(
            language=self._body.language or "unknown",
            duration=self._seconds,
            text=self.text,
            segments=self._segments(),
            usage=VerboseUsage(type="duration", seconds=self._seconds),
            task="transcribe",
        )

    def _usage(self) -> Usage:
        """Embeddings in, letters out: these are what the encoder and its CTC head write."""
        embeddings, letters = sum(heard.embeddings for heard in self._heard), len(self.text)
        return Usage(
            type="tokens",
            input_tokens=embeddings,
            output_tokens=letters,
            total_tokens=embeddings + letters,
            input_token_details=UsageInputTokenDetails(audio_tokens=embeddings, text_tokens=0),
        )


def _of_file(error: ServiceError) -> ApiError:
    told = error_of(error)
    if error.code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED) and not error.retry_after:
        told.param = "file"
    return told


def _compression_ratio(text: str) -> float:
    data = text.encode()
    return round(len(data) / len(zlib.compress(data)), 3)
