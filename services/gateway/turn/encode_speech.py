"""Encode speech: audio in, embeddings and a growing transcript out."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Protocol

import grpc

from protos.parley.v1.speech_encoder_pb2 import (
    EncodeSpeechDone,
    EncodeSpeechEnd,
    EncodeSpeechOpen,
    EncodeSpeechPause,
    EncodeSpeechRequest,
    SpeechChunk,
)
from protos.parley.v1.tensor_pb2 import Tensor
from services.gateway.turn.input_log import InputLog
from services.gateway.upstream.calls import CallContext, Calls, ConnectionLostError
from services.rpc.errors import ServiceError

PAUSE = b""  # in a log of audio: it is silent here, and the speech may be over


@dataclass(frozen=True)
class Tail:
    """What follows the embeddings so far if the speech is over at a pause."""

    pause: int  # place of the pause in the log of audio
    position: int  # embeddings before it
    embeddings: Tensor  # [n, language width]
    weights: str  # that made them
    transcript: str = ""  # of all the speech


class SpeechSink(Protocol):
    def on_embeddings(self, embeddings: Tensor, weights: str) -> None:
        """[n, language width], newly finished ones only. `weights`: that made them."""

    def on_transcript(self, text: str) -> None:
        """Of all the audio so far, whenever it has grown."""


async def encode_speech(
    audio: InputLog[bytes],
    sample_rate: int,
    calls: Calls,
    sink: SpeechSink,
    context: CallContext,
    on_tail: Callable[[Tail], None] | None = None,
) -> EncodeSpeechDone:
    """`audio`: 16-bit little-endian mono at `sample_rate` Hz. Returns once the log is closed and all is encoded.

    `on_tail` is told what the speech ends with if it is over at a `PAUSE`.

    A lost connection is opened again and sent the log from its start; what the sink has had is skipped. Raises ABORTED
    where the encoder came back with other weights.
    """
    given, weights = 0, ""  # embeddings, and what made them
    transcript = ""

    async def requests() -> AsyncGenerator[EncodeSpeechRequest, None]:
        opening = EncodeSpeechOpen(
            session_id=context.session_id,
            turn_id=context.turn_id,
            deadline_ms=context.deadline_ms,
            sample_rate=sample_rate,
        )
        yield EncodeSpeechRequest(open=opening)
        position = 0
        async for chunk in audio.read():
            if chunk != PAUSE:
                yield EncodeSpeechRequest(audio=chunk)
            elif position + 1 == len(audio.items):  # another attempt does not ask for what is past
                yield EncodeSpeechRequest(pause=EncodeSpeechPause(number=position))
            position += 1
        yield EncodeSpeechRequest(end=EncodeSpeechEnd())

    async def attempt() -> EncodeSpeechDone:
        nonlocal given, weights, transcript
        skip = given  # an earlier attempt had these
        async with calls.stream("speech_encoder", requests(), context) as answers:
            async for answer in answers:
                if answer.WhichOneof("message") == "done":
                    return answer.done
                if given and answer.chunk.weights != weights:
                    message = "the speech encoder has other weights than when the question began; ask again"
                    raise ServiceError(grpc.StatusCode.ABORTED, message, retry_after=0.5)
                weights = answer.chunk.weights
                if answer.chunk.tail:
                    if on_tail is not None and not skip:
                        on_tail(_tail(answer.chunk, given))
                    continue
                embeddings = without_first(answer.chunk.embeddings, skip)
                skip = max(0, skip - length_of(answer.chunk.embeddings))
                if length_of(embeddings):
                    given += length_of(embeddings)
                    sink.on_embeddings(embeddings, weights)
                if len(answer.chunk.transcript) > len(transcript):
                    transcript = answer.chunk.transcript
                    sink.on_transcript(transcript)
        raise ConnectionLostError("speech_encoder: the stream ended early")

    return await calls.until_done("speech_encoder", attempt)


def _tail(chunk: SpeechChunk, position: int) -> Tail:
    return Tail(chunk.pause_number, position, chunk.embeddings, chunk.weights, chunk.transcript)


def length_of(tensor: Tensor) -> int:
    """Number of embeddings in [n, width]."""
    return tensor.shape[0] if tensor.shape else 0


def without_first(tensor: Tensor, count: int) -> Tensor:
    """The tensor without its first `count` embeddings."""
    length = length_of(tensor)
    left = max(0, length - count)
    if left == length:
        return tensor
    data = tensor.data[(length - left) * (len(tensor.data) // length) :] if left else b""
    return Tensor(dtype=tensor.dtype, shape=[left, *tensor.shape[1:]], data=data)
