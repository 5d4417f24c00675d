"""The warm-up question: a picture, a second of sound and a word, through all four services of one release."""

from __future__ import annotations

import math
import struct
import zlib

from protos.parley.v1.language_model_pb2 import Part, Sampling, StateDecision, Token
from protos.parley.v1.tensor_pb2 import EmbeddingRef, Tensor
from protos.parley.v1.vision_encoder_pb2 import EncodeVisionRequest
from services.gateway.turn.encode_speech import encode_speech
from services.gateway.turn.generate import Prompt, generate
from services.gateway.turn.input_log import InputLog
from services.gateway.turn.synthesize import Speech, synthesize
from services.gateway.upstream.calls import CallContext, Calls
from services.rpc import streams

SAMPLE_RATE = 16_000  # Hz
SECONDS = 60.0  # that one service may take
WORD = "hello"


class Collected:
    """What the three functions of a turn gave."""

    def __init__(self) -> None:
        self.speech: list[Tensor] = []
        self.tokens: list[Token | str] = []
        self.samples = 0

    def on_embeddings(self, embeddings: Tensor, weights: str) -> None:
        self.speech.append(embeddings)

    def on_transcript(self, text: str) -> None:
        pass

    def on_state(self, decision: StateDecision) -> None:
        pass

    async def on_token(self, token: Token) -> None:
        self.tokens.append(token)

    async def on_audio(self, audio: bytes, sample_rate: int, text: str) -> None:
        self.samples += len(audio) // 2


async def ask(calls: Calls) -> Collected:
    """Raises `ServiceError` where a service cannot answer. Where nothing is answered, the question's word is spoken."""
    context, collected = CallContext(deadline_ms=streams.deadline_in(SECONDS)), Collected()
    picture = await calls.encode_images(EncodeVisionRequest(image=white_picture()), SECONDS)
    await encode_speech(_closed(tone()), SAMPLE_RATE, calls, collected, context)
    image = EmbeddingRef(weights=picture.weights, hash="warm-up", length=picture.embeddings.shape[0])
    parts = [Part(image=image), *(Part(speech=piece) for piece in collected.speech), Part(text=WORD)]
    prompt = Prompt(parts=_closed(*parts), sampling=Sampling(seed=1, max_tokens=16))

    async def resolve(wanted: EmbeddingRef) -> Tensor | None:
        return picture.embeddings

    await generate(prompt, calls, collected, context, resolve)
    await synthesize(_closed(*(collected.tokens or [WORD])), calls, collected, context, Speech(seed=1))
    return collected


def _closed(*items) -> InputLog:
    log = InputLog()
    for item in items:
        log.append(item)
    log.close()
    return log


def tone() -> bytes:
    """One second of 440 Hz: 16-bit little-endian mono."""
    samples = (int(8000 * math.sin(2 * math.pi * 440 * i / SAMPLE_RATE)) for i in range(SAMPLE_RATE))
    return struct.pack(f"<{SAMPLE_RATE}h", *samples)


def white_picture(size: int = 32) -> bytes:
    """A PNG, written by hand: the command line has no library for pictures."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + b"\xff" * (3 * size)) * size
    header = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
