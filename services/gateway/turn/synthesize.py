"""Synthesize: the tokens or the text of an answer in, while it is written; audio out."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from protos.parley.v1.language_model_pb2 import Token
from protos.parley.v1.speech_decoder_pb2 import (
    AudioChunk,
    SynthesizeDone,
    SynthesizeEnd,
    SynthesizeOpen,
    SynthesizeRequest,
    SynthesizeToken,
)
from services.gateway.turn.input_log import InputLog
from services.gateway.upstream.calls import CallContext, Calls, ConnectionLostError


@dataclass(frozen=True)
class Speech:
    """How an answer is spoken."""

    speaker: str = ""  # empty: the speech decoder's default
    speaker_tokens: tuple[int, ...] = ()  # of a speaker without a name; they override `speaker`
    seed: int = 0  # the same seed gives the same audio


class AudioSink(Protocol):
    async def on_audio(self, audio: bytes, sample_rate: int, text: str) -> None:
        """16-bit little-endian mono. `text`: of the answer, spoken by the end of it. May wait."""


async def synthesize(
    text: InputLog[Token | str], calls: Calls, sink: AudioSink, context: CallContext, speech: Speech
) -> SynthesizeDone:
    """`text`: tokens of the language model, or strings that the speech decoder tokenizes. Returns when all is spoken.

    A lost connection is opened again and sent the log from its start; what the sink has had is skipped.
    """
    given = 0  # samples

    async def attempt() -> SynthesizeDone:
        nonlocal given
        position = 0
        async with calls.stream("speech_decoder", _requests(text, context, speech), context) as answers:
            async for answer in answers:
                if answer.WhichOneof("message") == "done":
                    return answer.done
                samples = len(answer.chunk.audio) // 2
                skip = min(samples, max(0, given - position))  # an earlier attempt had these
                position += samples
                if samples > skip:
                    given = position
                    await _give(sink, answer.chunk, skip)
        raise ConnectionLostError("speech_decoder: the stream ended early")

    return await calls.until_done("speech_decoder", attempt)


async def _give(sink: AudioSink, chunk: AudioChunk, skip: int) -> None:
    await sink.on_audio(chunk.audio[2 * skip :], chunk.sample_rate, chunk.text)


async def _requests(
    text: InputLog[Token | str], context: CallContext, speech: Speech
) -> AsyncGenerator[SynthesizeRequest, None]:
    opening = SynthesizeOpen(
        session_id=context.session_id,
        turn_id=context.turn_id,
        deadline_ms=context.deadline_ms,
        speaker=speech.speaker,
        speaker_tokens=speech.speaker_tokens,
        seed=speech.seed,
    )
    yield SynthesizeRequest(open=opening)
    async for piece in text.read():
        if isinstance(piece, str):
            yield SynthesizeRequest(text=piece)
        else:
            yield SynthesizeRequest(token=SynthesizeToken(id=piece.id, text=piece.text))
    yield SynthesizeRequest(end=SynthesizeEnd())
