"""Recorded speech → its transcript, piece by piece: without a session and without the language model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

import numpy as np

from protos.parley.v1.tensor_pb2 import Tensor
from services.gateway.conversation.produced import produced
from services.gateway.media.pauses import Span
from services.gateway.turn.encode_speech import encode_speech
from services.gateway.turn.input_log import InputLog
from services.gateway.upstream.calls import CallContext, Calls
from services.rpc import streams


@dataclass(frozen=True)
class Heard:
    """The transcript of one piece, as far as it has come."""

    span: Span
    text: str
    embeddings: int = 0
    final: bool = False  # it is whole, and `embeddings` is known


async def transcribe(
    samples: np.ndarray, spans: Sequence[Span], sample_rate: int, calls: Calls, seconds: float
) -> AsyncGenerator[Heard, None]:
    """`samples`: int16 at the speech encoder's rate; `spans` of them, none longer than it takes, one after the other.

    `seconds`: that each piece may take. A transcript only grows. Raises `ServiceError`.
    """

    async def produce(queue: asyncio.Queue[Heard]) -> None:
        for span in spans:
            await queue.put(await _hear(samples, span, sample_rate, calls, seconds, queue))

    async for heard in produced(produce, limit=0):  # small, and as many as there is speech
        yield heard


async def _hear(
    samples: np.ndarray, span: Span, sample_rate: int, calls: Calls, seconds: float, queue: asyncio.Queue[Heard]
) -> Heard:
    audio: InputLog[bytes] = InputLog()
    for start in range(span.start, span.end, sample_rate):  # second by second: services bound the size of a message
        audio.append(samples[start : min(start + sample_rate, span.end)].tobytes())
    audio.close()
    context = CallContext(deadline_ms=streams.deadline_in(seconds))
    done = await encode_speech(audio, sample_rate, calls, _Sink(span, queue), context)
    return Heard(span, done.transcript, done.length, final=True)


class _Sink:
    def __init__(self, span: Span, queue: asyncio.Queue[Heard]):
        self._span, self._queue = span, queue

    def on_embeddings(self, embeddings: Tensor, weights: str) -> None:
        """They are of no use without the language model."""

    def on_transcript(self, text: str) -> None:
        self._queue.put_nowait(Heard(self._span, text))
