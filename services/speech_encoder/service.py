"""`parley.v1.SpeechEncoder` over the engine: audio messages in, vectors and what was heard out."""

from __future__ import annotations

from collections.abc import AsyncIterator

import torch

from parley.checkpoints.checkpoint import read_manifest
from parley.media.audio import from_pcm16
from parley.models.parley import Parley
from parley.models.speech import MIN_MEL_FRAMES
from protos.parley.v1 import speech_encoder_pb2 as pb
from protos.parley.v1 import speech_encoder_pb2_grpc as rpcs
from services.engine.service import EngineService
from services.rpc import streams, tensors
from services.rpc.decorator import rpc
from services.rpc.limits import too_much
from services.speech_encoder.engine import SERVICE, Engine, Utterance, warm_up
from services.speech_encoder.settings import SpeechEncoderSettings
from services.telemetry import metrics

PARTS = ("speech_encoder", "speech_adapter")
OPTIONAL_PARTS = ("ctc_head",)


class SpeechEncoderService(EngineService[Engine], rpcs.SpeechEncoderServicer):
    service = SERVICE

    def load(self) -> Engine:
        """Hears a second of silence."""
        settings = self.settings
        stored = read_manifest(settings.checkpoint).parts
        parts = PARTS + tuple(part for part in OPTIONAL_PARTS if part in stored)
        model = Parley.load(settings.checkpoint, parts, settings.device, getattr(torch, settings.dtype))
        self.config = model.config.speech
        engine = Engine(model.speech_encoder, model.speech_adapter, model.ctc_head, settings)
        warm_up(engine)
        return engine

    @rpc
    async def Encode(self, request_iterator, context) -> AsyncIterator[pb.EncodeSpeechResponse]:
        messages = streams.read(request_iterator, last="end", idle=self.settings.idle_seconds)
        _, opened = await anext(messages)
        streams.seconds_left(opened.deadline_ms)
        if opened.sample_rate != self.config.sample_rate:
            raise ValueError(f"audio of {opened.sample_rate} Hz; this model hears {self.config.sample_rate} Hz")
        utterance = self.engine.open()
        hearing = Hearing(utterance, self.config, self.settings)
        sequence = vectors = 0
        transcript = ""
        async with utterance.fed_by(hearing.run, messages):
            while True:
                async with streams.within(opened.deadline_ms):
                    heard = await utterance.next()
                output = heard.output
                if len(output.vectors) or output.transcript != transcript:
                    transcript = output.transcript
                    vectors += len(output.vectors)
                    chunk = pb.SpeechChunk(embeddings=tensors.from_torch(output.vectors), transcript=transcript)
                    yield pb.EncodeSpeechResponse(sequence=sequence, chunk=chunk)
                    sequence += 1
                if output.done:
                    break
            metrics.AUDIO_SECONDS.labels(SERVICE, "in").inc(hearing.seconds)
            metrics.REAL_TIME_FACTOR.labels(SERVICE).observe(heard.compute_seconds / hearing.seconds)
            done = pb.EncodeSpeechDone(
                transcript=transcript,
                audio_seconds=hearing.seconds,
                vectors=vectors,
                compute_seconds=heard.compute_seconds,
            )
            yield pb.EncodeSpeechResponse(sequence=sequence, done=done)


class Hearing:
    """Passes one stream's audio on to its utterance, as long as it keeps to the limits."""

    def __init__(self, utterance: Utterance, config, settings: SpeechEncoderSettings):
        self.utterance, self.settings = utterance, settings
        self.sample_rate = config.sample_rate
        self.max_samples = int(settings.max_seconds * config.sample_rate)
        shortest_ms = config.frame_length_ms + (MIN_MEL_FRAMES - 1) * config.frame_shift_ms
        self.min_samples = round(shortest_ms * config.sample_rate / 1000)
        self.samples = 0

    @property
    def seconds(self) -> float:
        return self.samples / self.sample_rate

    async def run(self, messages: AsyncIterator[tuple[str, object]]) -> None:
        """Reads to the end of the stream. Raises whatever is wrong with it."""
        async for kind, field in messages:
            if kind == "audio":
                await self.utterance.backpressure()
                self._feed(field)
        if self.samples < self.min_samples:
            shortest = 1000 * self.min_samples / self.sample_rate
            raise ValueError(
                f"{1000 * self.seconds:.0f} ms of audio is nothing to hear; send at least {shortest:.0f} ms"
            )
        self.utterance.finish()

    def _feed(self, data: bytes) -> None:
        if len(data) > self.settings.max_message_bytes:
            most = self.settings.max_message_bytes
            message = f"an audio message of {len(data)} bytes; send at most {most} at a time"
            raise too_much(SERVICE, "max_message_bytes", message)
        samples = from_pcm16(data)
        if self.samples + len(samples) > self.max_samples:
            longest = self.settings.max_seconds
            message = f"the utterance is longer than {longest:g} s; end it and begin a new one"
            raise too_much(SERVICE, "max_seconds", message)
        self.samples += len(samples)
        if len(samples):
            self.utterance.feed(samples)
