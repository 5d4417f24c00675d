"""A text, spoken: without a session and without the language model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from protos.parley.v1.speech_decoder_pb2 import SynthesizeDone
from services.gateway.conversation.produced import produced
from services.gateway.events import AudioDelta
from services.gateway.turn.input_log import InputLog
from services.gateway.turn.synthesize import Speech, synthesize
from services.gateway.upstream.calls import CallContext, Calls
from services.rpc import streams


async def speak(
    text: str, speech: Speech, calls: Calls, seconds: float
) -> AsyncGenerator[AudioDelta | SynthesizeDone, None]:
    """The audio as it comes, then what it cost. `seconds`: that all may take. Raises `ServiceError`."""
    written: InputLog[str] = InputLog()
    written.append(text)
    written.close()
    context = CallContext(deadline_ms=streams.deadline_in(seconds))

    async def produce(queue: asyncio.Queue) -> None:
        await queue.put(await synthesize(written, calls, _Sink(queue), context, speech))

    async for body in produced(produce):
        yield body


class _Sink:
    def __init__(self, queue: asyncio.Queue):
        self._queue, self._samples = queue, 0

    async def on_audio(self, audio: bytes, sample_rate: int, text: str) -> None:
        delta = AudioDelta(audio, sample_rate, offset=self._samples)
        self._samples += len(audio) // 2
        await self._queue.put(delta)
