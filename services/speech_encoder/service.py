"""`parley.v1.SpeechEncoder` over the engine: audio messages in, embeddings and a growing transcript out."""

from __future__ import annotations

from collections.abc import AsyncIterator

import torch

from parley.checkpoints import load_model
from parley.config import SpeechConfig
from parley.media.audio import from_pcm16
from parley.models.speech import ADAPTER_STRIDE, MIN_MEL_FRAMES, SUBSAMPLING
from protos.parley.v1 import speech_encoder_pb2 as pb
from protos.parley.v1 import speech_encoder_pb2_grpc as rpcs
from protos.parley.v1.model_info_pb2 import ModelInfo
from protos.parley.v1.usage_pb2 import FINISH_REASON_STOP, Usage
from services.engine.service import EngineService
from services.rpc import streams, tensors
from services.rpc.decorator import rpc
from services.rpc.limits import too_much
from services.speech_encoder.backends import Backend
from services.speech_encoder.backends.local import local_backend
from services.speech_encoder.engine import SERVICE, Encoded, Engine, Utterance, warm_up
from services.speech_encoder.settings import SpeechEncoderSettings
from services.telemetry import metrics, tracing

PARTS = ("speech_encoder", "speech_adapter")
OPTIONAL_PARTS = ("ctc_head",)


class SpeechEncoderService(EngineService[Engine], rpcs.SpeechEncoderServicer):
    service = SERVICE
    settings: SpeechEncoderSettings

    def choose_parts(self) -> tuple[str, ...]:
        return PARTS + tuple(part for part in OPTIONAL_PARTS if part in self.checkpoint.parts)

    def load(self) -> Engine:
        """Warms up with a second of empty mel frames."""
        self.config = self.checkpoint.config.speech
        backend = self._triton() if self.settings.backend == "triton" else self._local()
        engine = Engine(backend, self.config, self.settings)
        warm_up(engine)
        return engine

    def _local(self) -> Backend:
        settings = self.settings
        model = load_model(self.checkpoint, self.parts, settings.device, getattr(torch, settings.dtype))
        return local_backend(model, settings)

    def _triton(self) -> Backend:
        from services.engine.triton import TritonModel  # the extra `triton`
        from services.speech_encoder.backends.triton import TritonBackend, choices

        wanted = choices(self.config, self.settings)
        model = TritonModel.connect(SERVICE, self.checkpoint.fingerprint, self.settings, self.loop, wanted)
        self.settings = model.describe(self.settings)
        return TritonBackend(model, self.checkpoint.config, "ctc_head" in self.parts)

    def describe(self) -> ModelInfo:
        info = super().describe()
        info.input_sample_rate = self.config.sample_rate
        info.embedding_rate = embedding_rate(self.config)
        info.max_audio_seconds = self.settings.max_seconds
        info.transcribes = self.engine.backend.transcribes
        return info

    @rpc
    async def Encode(self, request_iterator, context) -> AsyncIterator[pb.EncodeSpeechResponse]:
        messages = streams.read(request_iterator, last="end", idle=self.settings.idle_seconds)
        _, opening = await anext(messages)
        streams.seconds_left(opening.deadline_ms)
        check_sample_rate(opening.sample_rate, self.config)
        utterance = self.engine.open()
        reader = AudioReader(utterance, self.config, self.settings)
        answer = Answer(self.checkpoint.fingerprint)
        async with utterance.fed_by(reader.run, messages):
            while True:
                async with streams.within(opening.deadline_ms):
                    encoded = await utterance.next_within(streams.HEARTBEAT_SECONDS)
                if encoded is None:
                    yield pb.EncodeSpeechResponse()
                    continue
                if encoded.output.tail:
                    yield answer.tail(encoded)
                elif answer.add(encoded):
                    yield answer.chunk(encoded)
                if encoded.output.done:
                    break
            report_audio(reader.seconds, encoded.compute_seconds)
            tracing.annotate(weights=answer.weights, audio_seconds=reader.seconds, embeddings=answer.length)
            yield answer.done(encoded, reader.seconds)


class Answer:
    """The messages that answer one stream, numbered."""

    def __init__(self, weights: str) -> None:
        self.weights = weights
        self.sequence = 0  # of the next message
        self.length = 0  # embeddings sent
        self.transcript = ""

    def add(self, encoded: Encoded) -> bool:
        """Takes the transcript of a step. Returns whether the step has something to send."""
        changed = encoded.output.transcript != self.transcript
        self.transcript = encoded.output.transcript
        return changed or len(encoded.output.embeddings) > 0

    def chunk(self, encoded: Encoded) -> pb.EncodeSpeechResponse:
        self.length += len(encoded.output.embeddings)
        return self._message(encoded)

    def tail(self, encoded: Encoded) -> pb.EncodeSpeechResponse:
        """Nothing of it counts: the next messages go on as if it had not been."""
        return self._message(encoded, tail=True, pause_number=encoded.pause)

    def _message(self, encoded: Encoded, **fields: int) -> pb.EncodeSpeechResponse:
        output = encoded.output
        tensor = tensors.from_torch(output.embeddings)
        chunk = pb.SpeechChunk(embeddings=tensor, transcript=output.transcript, weights=self.weights, **fields)
        self.sequence += 1
        return pb.EncodeSpeechResponse(sequence=self.sequence - 1, chunk=chunk)

    def done(self, encoded: Encoded, audio_seconds: float) -> pb.EncodeSpeechResponse:
        done = pb.EncodeSpeechDone(
            transcript=self.transcript,
            length=self.length,
            compute_seconds=encoded.compute_seconds,
            usage=Usage(audio_input_seconds=audio_seconds),
            finish_reason=FINISH_REASON_STOP,
        )
        return pb.EncodeSpeechResponse(sequence=self.sequence, done=done)


class AudioReader:
    """Passes the audio of a stream on to its utterance and checks the limits."""

    def __init__(self, utterance: Utterance, config: SpeechConfig, settings: SpeechEncoderSettings):
        self.utterance, self.settings = utterance, settings
        self.sample_rate = config.sample_rate
        self.max_samples = int(settings.max_seconds * config.sample_rate)
        shortest_ms = config.frame_length_ms + (MIN_MEL_FRAMES - 1) * config.frame_shift_ms
        self.min_samples = round(shortest_ms * config.sample_rate / 1000)
        self.samples = 0  # received

    @property
    def seconds(self) -> float:
        return self.samples / self.sample_rate

    async def run(self, messages: AsyncIterator[tuple[str, object]]) -> None:
        """Reads to the end of the stream. Raises `ValueError` or `ServiceError` for what is wrong with it."""
        async for kind, field in messages:
            await self.utterance.backpressure()
            if kind == "audio":
                self._feed(field)
            elif kind == "pause":
                self.utterance.pause(field.number)
        if self.samples < self.min_samples:
            shortest = 1000 * self.min_samples / self.sample_rate
            raise ValueError(f"{1000 * self.seconds:.0f} ms of audio is too short; send at least {shortest:.0f} ms")
        self.utterance.finish()

    def _feed(self, data: bytes) -> None:
        most, longest = self.settings.max_message_bytes, self.settings.max_seconds
        if len(data) > most:
            message = f"an audio message of {len(data)} bytes; send at most {most} at a time"
            raise too_much(SERVICE, "max_message_bytes", message)
        samples = from_pcm16(data)
        if self.samples + len(samples) > self.max_samples:
            message = f"the utterance is longer than {longest:g} s; end it and begin a new one"
            raise too_much(SERVICE, "max_seconds", message)
        self.samples += len(samples)
        if len(samples):
            self.utterance.feed(samples)


def embedding_rate(config: SpeechConfig) -> float:
    """Embeddings a second of audio."""
    return 1000 / config.frame_shift_ms / SUBSAMPLING / ADAPTER_STRIDE


def check_sample_rate(sample_rate: int, config: SpeechConfig) -> None:
    if sample_rate != config.sample_rate:
        raise ValueError(f"the audio has {sample_rate} Hz; this model reads {config.sample_rate} Hz")


def report_audio(audio_seconds: float, compute_seconds: float) -> None:
    metrics.AUDIO_SECONDS.labels(SERVICE, "in").inc(audio_seconds)
    metrics.REAL_TIME_FACTOR.labels(SERVICE).observe(compute_seconds / audio_seconds, tracing.exemplar())
