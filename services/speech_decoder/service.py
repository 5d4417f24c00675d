"""`parley.v1.SpeechDecoder` over the engine: text tokens in while they are written, audio out."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import grpc
import torch

from parley.checkpoint import load_tensor
from parley.clauses import ClauseSplitter
from parley.model import Parley
from protos.parley.v1 import voice_pb2 as pb
from protos.parley.v1 import voice_pb2_grpc as rpcs
from services.common import metrics, streams
from services.common.errors import ServiceError
from services.common.rpc import rpc
from services.speech_decoder.engine import SERVICE, Answer, Engine, warm_up
from services.speech_decoder.settings import VoiceSettings

PARTS = ("speech_decoder", "codec_decoder")
EMBEDDINGS = "model.embed_tokens.weight"  # all that speaking needs of the language model


class VoiceService(rpcs.SpeechDecoderServicer):
    service = SERVICE

    def __init__(self, settings: VoiceSettings):
        self.settings = settings
        self._engine: Engine | None = None

    async def start(self) -> None:
        """Loads the parts, has the engine say something, and starts it."""
        self._engine = await asyncio.to_thread(self._load)
        self._engine.start()

    def _load(self) -> Engine:
        settings, dtype = self.settings, getattr(torch, self.settings.dtype)
        model = Parley.load(settings.checkpoint, PARTS, settings.device, dtype)
        table = load_tensor(settings.checkpoint, "language", EMBEDDINGS).to(settings.device, dtype)
        self.codec = model.config.codec
        engine = Engine(model.speech_decoder, model.codec_decoder, table, self.codec.sample_rate, settings)
        warm_up(engine)
        return engine

    async def stop(self) -> None:
        if self._engine is not None:
            await asyncio.to_thread(self._engine.stop)

    def check_health(self) -> None:
        """Raises once the engine can no longer answer."""
        if not self._engine.alive:
            raise RuntimeError("the speech decoder's engine is dead")

    @rpc
    async def Speak(self, request_iterator, context) -> AsyncIterator[pb.SpeakResponse]:
        try:
            async with contextlib.aclosing(self._speak(request_iterator)) as responses:
                async for response in responses:
                    yield response
        except Exception:
            await streams.drain(request_iterator)
            raise

    async def _speak(self, requests) -> AsyncIterator[pb.SpeakResponse]:
        messages = streams.read(requests, last="end", idle=self.settings.idle_seconds)
        _, opened = await anext(messages)
        streams.seconds_left(opened.deadline_ms)
        answer = self._engine.open(self._voice(list(opened.voice)), opened.seed)
        reader = asyncio.create_task(self._read(messages, answer))
        sequence, audio_seconds = 0, 0.0
        try:
            while True:
                async with streams.within(opened.deadline_ms):
                    spoken = await answer.next()
                if spoken.done:
                    break
                seconds = len(spoken.audio) / 2 / self.codec.sample_rate
                audio_seconds += seconds
                metrics.AUDIO_SECONDS.labels(SERVICE, "out").inc(seconds)
                chunk = pb.AudioChunk(audio=spoken.audio, sample_rate=self.codec.sample_rate, text=spoken.text)
                yield pb.SpeakResponse(sequence=sequence, chunk=chunk)
                sequence += 1
            if audio_seconds:
                metrics.REAL_TIME_FACTOR.labels(SERVICE).observe(spoken.compute_seconds / audio_seconds)
            done = pb.SpeakDone(
                audio_seconds=audio_seconds,
                compute_seconds=spoken.compute_seconds,
                first_audio_seconds=spoken.first_audio_seconds,
            )
            yield pb.SpeakResponse(sequence=sequence, done=done)
        finally:
            answer.close()
            reader.cancel()
            await asyncio.wait([reader])

    def _voice(self, voice: list[int]) -> list[int]:
        """The voice's tokens, or the checkpoint's own voice for none."""
        count, codes = self.codec.num_voice_tokens, self.codec.voice_codes
        if not voice:
            return list(self.codec.default_voice) or [0] * count
        if len(voice) != count or not all(0 <= token < codes for token in voice):
            raise ValueError(f"a voice is {count} tokens from 0 to {codes - 1}; got {voice[:20]}")
        return voice

    async def _read(self, messages: AsyncIterator[tuple[str, object]], answer: Answer) -> None:
        """Hands clauses on as they become complete; whatever is wrong with the stream becomes the answer's failure."""
        settings = self.settings
        splitter = ClauseSplitter(settings.first_words, settings.later_words, settings.max_clause_tokens)
        vocabulary, count = len(self._engine.table), 0
        try:
            async for kind, message in messages:
                if kind != "token":
                    continue
                count += 1
                if count > settings.max_tokens:
                    metrics.REFUSED.labels(SERVICE, "max_tokens").inc()
                    text = f"the answer is longer than {settings.max_tokens} tokens"
                    raise ServiceError(grpc.StatusCode.RESOURCE_EXHAUSTED, text, retry_after=1.0)
                if not 0 <= message.id < vocabulary:
                    raise ValueError(f"token {message.id} is not in the vocabulary of {vocabulary}")
                for clause in splitter.push(message.id, message.text):
                    answer.say(clause)
            for clause in splitter.finish():
                answer.say(clause)
            answer.finish()
        except Exception as error:
            answer.fail(error)
