"""`parley.v1.SpeechDecoder` over the engine: the text of an answer in while it is written, audio out."""

from __future__ import annotations

from collections.abc import AsyncIterator

import torch

from parley.checkpoints import load_model
from parley.export.graph import speech_decoder_graphs
from protos.parley.v1 import speech_decoder_pb2 as pb
from protos.parley.v1 import speech_decoder_pb2_grpc as rpcs
from protos.parley.v1.model_info_pb2 import ModelInfo, Speaker
from protos.parley.v1.usage_pb2 import FINISH_REASON_LENGTH, FINISH_REASON_STOP, Usage
from services.engine.compiled import compiled
from services.engine.service import EngineService
from services.rpc import streams
from services.rpc.decorator import rpc
from services.speech_decoder.engine import SERVICE, Engine, Networks, warm_up
from services.speech_decoder.incremental_tokenizer import without_special_tokens
from services.speech_decoder.request import Chunk
from services.speech_decoder.settings import SpeechDecoderSettings
from services.speech_decoder.speakers import choose_speaker, speakers_of
from services.speech_decoder.text_reader import TextReader
from services.telemetry import metrics, tracing

EMBEDDINGS = "model.embed_tokens.weight"  # the only tensor of the language model that speech synthesis needs


class SpeechDecoderService(EngineService[Engine], rpcs.SpeechDecoderServicer):
    service = SERVICE
    settings: SpeechDecoderSettings

    def choose_parts(self) -> tuple[str, ...]:
        return ("speech_decoder", "codec_decoder")

    def load(self) -> Engine:
        """Warms up with a short clause."""
        settings, dtype = self.settings, getattr(torch, self.settings.dtype)
        model = load_model(self.checkpoint, ("speech_decoder",), settings.device, dtype)
        # Always float32: the rounding of shorter formats is audible as noise, and the codec is small.
        codec = load_model(self.checkpoint, ("codec_decoder",), settings.device, torch.float32).codec_decoder
        table = self.checkpoint.tensor("language", EMBEDDINGS).to(settings.device, dtype)
        self.codec = model.config.codec
        self.speakers = speakers_of(self.codec)
        self.tokenizer = model.tokenizer and without_special_tokens(model.tokenizer)
        graphs = speech_decoder_graphs(model.speech_decoder, codec)
        networks = Networks(*(compiled(graph, settings) for graph in graphs))
        engine = Engine(model.speech_decoder, codec, table, self.codec.sample_rate, settings, networks)
        warm_up(engine)
        return engine

    def describe(self) -> ModelInfo:
        info = super().describe()
        info.output_sample_rate = self.codec.sample_rate
        info.codec_frame_rate = self.codec.sample_rate / self.codec.hop_length
        info.speakers.extend(Speaker(name=name, tokens=tokens) for name, tokens in self.speakers.items())
        info.num_speaker_tokens = self.codec.num_speaker_tokens
        return info

    @rpc
    async def Synthesize(self, request_iterator, context) -> AsyncIterator[pb.SynthesizeResponse]:
        messages = streams.read(request_iterator, last="end", idle=self.settings.idle_seconds)
        _, opening = await anext(messages)
        streams.seconds_left(opening.deadline_ms)
        speaker = choose_speaker(opening.speaker, opening.speaker_tokens, self.speakers, self.codec)
        request = self.engine.open(speaker, opening.seed)
        reader = TextReader(request, self.settings, len(self.engine.table), self.tokenizer)
        answer = Answer(self.codec.sample_rate, self.checkpoint.fingerprint)
        async with request.fed_by(reader.run, messages):
            while True:
                async with streams.within(opening.deadline_ms):
                    chunk = await request.next_within(streams.HEARTBEAT_SECONDS)
                if chunk is None:
                    yield pb.SynthesizeResponse()
                    continue
                if chunk.done:
                    break
                yield answer.chunk(chunk)
            tracing.annotate(weights=self.checkpoint.fingerprint, audio_seconds=answer.audio_seconds)
            yield answer.done(chunk, reader.tokens)


class Answer:
    """The messages that answer one stream, numbered."""

    def __init__(self, sample_rate: int, weights: str):
        self.sample_rate, self.weights = sample_rate, weights
        self.sequence = 0  # of the next message
        self.samples = 0  # sent

    @property
    def audio_seconds(self) -> float:
        return self.samples / self.sample_rate

    def chunk(self, chunk: Chunk) -> pb.SynthesizeResponse:
        samples = len(chunk.audio) // 2
        self.samples += samples
        metrics.AUDIO_SECONDS.labels(SERVICE, "out").inc(samples / self.sample_rate)
        audio = pb.AudioChunk(audio=chunk.audio, sample_rate=self.sample_rate, text=chunk.text)
        self.sequence += 1
        return pb.SynthesizeResponse(sequence=self.sequence - 1, chunk=audio)

    def done(self, chunk: Chunk, tokens: int) -> pb.SynthesizeResponse:
        """`tokens`: of the text."""
        if self.samples:
            factor = chunk.compute_seconds / self.audio_seconds
            metrics.REAL_TIME_FACTOR.labels(SERVICE).observe(factor, tracing.exemplar())
        done = pb.SynthesizeDone(
            compute_seconds=chunk.compute_seconds,
            first_audio_seconds=chunk.first_audio_seconds,
            usage=Usage(prompt_tokens=tokens, audio_output_seconds=self.audio_seconds),
            finish_reason=FINISH_REASON_LENGTH if chunk.truncated else FINISH_REASON_STOP,
            weights=self.weights,
        )
        return pb.SynthesizeResponse(sequence=self.sequence, done=done)
