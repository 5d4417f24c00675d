"""Encode speech: audio in, embeddings and a growing transcript out."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

from protos.parley.v1.speech_encoder_pb2 import (
    EncodeSpeechDone,
    EncodeSpeechEnd,
    EncodeSpeechOpen,
    EncodeSpeechRequest,
)
from protos.parley.v1.tensor_pb2 import Tensor
from services.gateway.turn.input_log import InputLog
from services.gateway.upstream.calls import CallContext, Calls, ConnectionLostError


class SpeechSink(Protocol):
    def on_embeddings(self, embeddings: Tensor) -> None:
        """[n, language width], newly finished ones only."""

    def on_transcript(self, text: str) -> None:
        """Of all the audio so far, whenever it has grown."""


async def encode_speech(
    audio: InputLog[bytes], calls: Calls, sink: SpeechSink, context: CallContext
) -> EncodeSpeechDone:
    """`audio`: 16-bit little-endian mono at the encoder's rate. Returns once the log is closed and all is encoded.

    A lost connection is opened again and sent the log from its start; what the sink has had is skipped.
    """
    sample_rate = (await calls.describe("speech_encoder")).input_sample_rate
    given = 0  # embeddings
    transcript = ""

    async def requests() -> AsyncGenerator[EncodeSpeechRequest, None]:
        opening = EncodeSpeechOpen(
            session_id=context.session_id,
            turn_id=context.turn_id,
            deadline_ms=context.deadline_ms,
            sample_rate=sample_rate,
        )
        yield EncodeSpeechRequest(open=opening)
        async for chunk in audio.read():
            yield EncodeSpeechRequest(audio=chunk)
        yield EncodeSpeechRequest(end=EncodeSpeechEnd())

    async def attempt() -> EncodeSpeechDone:
        nonlocal given, transcript
        skip = given  # an earlier attempt had these
        async with calls.stream("speech_encoder", requests(), context) as answers:
            async for answer in answers:
                if answer.WhichOneof("message") == "done":
                    return answer.done
                embeddings = without_first(answer.chunk.embeddings, skip)
                skip = max(0, skip - row_count(answer.chunk.embeddings))
                if row_count(embeddings):
                    given += row_count(embeddings)
                    sink.on_embeddings(embeddings)
                if len(answer.chunk.transcript) > len(transcript):
                    transcript = answer.chunk.transcript
                    sink.on_transcript(transcript)
        raise ConnectionLostError("speech_encoder: the stream ended early")

    return await calls.until_done("speech_encoder", attempt)


def row_count(tensor: Tensor) -> int:
    return tensor.shape[0] if tensor.shape else 0


def without_first(tensor: Tensor, count: int) -> Tensor:
    """The tensor without its first `count` rows."""
    rows = row_count(tensor)
    left = max(0, rows - count)
    if left == rows:
        return tensor
    data = tensor.data[(rows - left) * (len(tensor.data) // rows) :] if left else b""
    return Tensor(dtype=tensor.dtype, shape=[left, *tensor.shape[1:]], data=data)
