"""Recorded speech → its transcript, piece by piece: without a session and without the language model."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
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
    """The transcript of one piece."""

    span: Span
    text: str
    embeddings: int


async def transcribe(
    samples: np.ndarray, spans: Sequence[Span], sample_rate: int, calls: Calls, seconds: float
) -> AsyncGenerator[Heard, None]:
    """`samples`: int16 at the speech encoder's rate; `spans` of them, none longer than it takes, one after the other.

    `seconds`: that each piece may take. Raises `ServiceError`.
    """

    async def produce(emit: Callable[[Heard], Awaitable[None]]) -> None:
        for span in spans:
            await emit(await _hear(samples, span, sample_rate, calls, seconds))

    async for heard in produced(produce):
        yield heard


async def _hear(samples: np.ndarray, span: Span, sample_rate: int, calls: Calls, seconds: float) -> Heard:
    audio: InputLog[bytes] = InputLog()
    for start in range(span.start, span.end, sample_rate):  # second by second: services bound the size of a message
        audio.append(samples[start : min(start + sample_rate, span.end)].tobytes())
    audio.close()
    context = CallContext(deadline_ms=streams.deadline_in(seconds))
    done = await encode_speech(audio, sample_rate, calls, _Nothing(), context)
    return Heard(span, done.transcript, done.length)


class _Nothing:
    """Of a piece only its whole transcript counts."""

    def on_embeddings(self, embeddings: Tensor, weights: str) -> None:
        pass

    def on_transcript(self, text: str) -> None:
        pass
