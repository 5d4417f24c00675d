"""`parley.v1.SpeechDecoder` over the engine: text tokens in while they are written, audio out."""

from __future__ import annotations

from collections.abc import AsyncIterator

import torch

from parley.checkpoints.checkpoint import load_tensor
from parley.models.parley import Parley
from parley.text.clauses import ClauseSplitter
from protos.parley.v1 import speech_decoder_pb2 as pb
from protos.parley.v1 import speech_decoder_pb2_grpc as rpcs
from services.engine.service import EngineService
from services.rpc import streams
from services.rpc.decorator import rpc
from services.rpc.limits import too_much
from services.speech_decoder.engine import SERVICE, Answer, Engine, warm_up
from services.telemetry import metrics

PARTS = ("speech_decoder", "codec_decoder")
EMBEDDINGS = "model.embed_tokens.weight"  # all that speaking needs of the language model


class SpeechDecoderService(EngineService[Engine], rpcs.SpeechDecoderServicer):
    service = SERVICE

    def load(self) -> Engine:
        """Says something."""
        settings, dtype = self.settings, getattr(torch, self.settings.dtype)
        model = Parley.load(settings.checkpoint, PARTS, settings.device, dtype)
        table = load_tensor(settings.checkpoint, "language", EMBEDDINGS).to(settings.device, dtype)
        self.codec = model.config.codec
        engine = Engine(model.speech_decoder, model.codec_decoder, table, self.codec.sample_rate, settings)
        warm_up(engine)
        return engine

    @rpc
    async def Synthesize(self, request_iterator, context) -> AsyncIterator[pb.SynthesizeResponse]:
        messages = streams.read(request_iterator, last="end", idle=self.settings.idle_seconds)
        _, opened = await anext(messages)
        streams.seconds_left(opened.deadline_ms)
        answer = self.engine.open(self._voice(list(opened.voice)), opened.seed)
        sequence, audio_seconds = 0, 0.0
        async with answer.fed_by(self._read, messages, answer):
            while True:
                async with streams.within(opened.deadline_ms):
                    spoken = await answer.next()
                if spoken.done:
                    break
                seconds = len(spoken.audio) / 2 / self.codec.sample_rate
                audio_seconds += seconds
                metrics.AUDIO_SECONDS.labels(SERVICE, "out").inc(seconds)
                chunk = pb.AudioChunk(audio=spoken.audio, sample_rate=self.codec.sample_rate, text=spoken.text)
                yield pb.SynthesizeResponse(sequence=sequence, chunk=chunk)
                sequence += 1
            if audio_seconds:
                metrics.REAL_TIME_FACTOR.labels(SERVICE).observe(spoken.compute_seconds / audio_seconds)
            done = pb.SynthesizeDone(
                audio_seconds=audio_seconds,
                compute_seconds=spoken.compute_seconds,
                first_audio_seconds=spoken.first_audio_seconds,
            )
            yield pb.SynthesizeResponse(sequence=sequence, done=done)

    def _voice(self, voice: list[int]) -> list[int]:
        """The voice's tokens, or the checkpoint's own voice for none."""
        count, codes = self.codec.num_voice_tokens, self.codec.voice_codes
        if not voice:
            return list(self.codec.default_voice) or [0] * count
        if len(voice) != count or not all(0 <= token < codes for token in voice):
            raise ValueError(f"a voice is {count} tokens from 0 to {codes - 1}; got {voice[:20]}")
        return voice

    async def _read(self, messages: AsyncIterator[tuple[str, object]], answer: Answer) -> None:
        """Hands clauses on as they become complete. Raises whatever is wrong with the stream."""
        settings = self.settings
        splitter = ClauseSplitter(settings.first_words, settings.later_words, settings.max_clause_tokens)
        vocabulary, count = len(self.engine.table), 0
        async for kind, message in messages:
            if kind != "token":
                continue
            count += 1
            if count > settings.max_tokens:
                raise too_much(SERVICE, "max_tokens", f"the answer is longer than {settings.max_tokens} tokens")
            if not 0 <= message.id < vocabulary:
                raise ValueError(f"token {message.id} is not in the vocabulary of {vocabulary}")
            for clause in splitter.push(message.id, message.text):
                await answer.backpressure()
                answer.say(clause)
        for clause in splitter.finish():
            answer.say(clause)
        answer.finish()
