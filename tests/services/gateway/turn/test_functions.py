"""The three functions of a turn, each used without a session: transcription, chat, speech synthesis."""

from __future__ import annotations

import pytest

from protos.parley.v1.language_model_pb2 import Message, Part, Sampling
from services.gateway.settings import UpstreamSettings
from services.gateway.turn.encode_speech import encode_speech, without_first
from services.gateway.turn.generate import Prompt, generate
from services.gateway.turn.input_log import InputLog
from services.gateway.turn.synthesize import Speech, synthesize
from services.gateway.upstream.calls import CallContext
from services.gateway.upstream.releases import ServingReleases
from services.registry import SERVICES
from services.rpc import tensors

NOBODY = CallContext()


@pytest.fixture
async def calls(services):
    releases = ServingReleases(UpstreamSettings(**{name: f"127.0.0.1:{services.ports[name]}" for name in SERVICES}))
    yield releases.current
    await releases.close()


class Sink:
    def __init__(self) -> None:
        self.embeddings, self.transcripts, self.states, self.tokens, self.audio = [], [], [], [], b""

    def on_embeddings(self, embeddings, weights: str) -> None:
        self.embeddings.append(embeddings)

    def on_transcript(self, text: str) -> None:
        self.transcripts.append(text)

    def on_state(self, decision) -> None:
        self.states.append(decision)

    async def on_token(self, token) -> None:
        self.tokens.append(token)

    async def on_audio(self, audio: bytes, sample_rate: int, text: str) -> None:
        self.audio += audio


async def nothing_kept(ref):
    return None


def written(*items) -> InputLog:
    log = InputLog()
    for item in items:
        log.append(item)
    log.close()
    return log


async def test_transcription_needs_only_the_first(calls, spoken_question):
    sink = Sink()
    done = await encode_speech(written(spoken_question.tobytes()), 16_000, calls, sink, NOBODY)
    assert done.transcript == sink.transcripts[-1]
    assert sum(piece.shape[0] for piece in sink.embeddings) == done.length
    assert done.usage.audio_input_seconds == pytest.approx(len(spoken_question) / 16_000)


async def test_chat_needs_only_the_second(calls):
    sink = Sink()
    prompt = Prompt(
        messages=[Message(role=Message.ROLE_SYSTEM, parts=[Part(text="be brief")])],
        parts=written(Part(text="hello")),
        sampling=Sampling(max_tokens=6, seed=1),
    )
    done = await generate(prompt, calls, sink, NOBODY, nothing_kept)
    assert "".join(token.text for token in sink.tokens) == done.text and len(sink.states) == 1
    assert done.usage.answer_tokens == len(sink.tokens) == 6


async def test_speech_synthesis_needs_only_the_third_and_takes_text(calls):
    sink = Sink()
    done = await synthesize(written("hello, how are", " you today?"), calls, sink, NOBODY, Speech(seed=3))
    assert len(sink.audio) / 2 / 24_000 == pytest.approx(done.usage.audio_output_seconds)
    whole = Sink()
    await synthesize(written("hello, how are you today?"), calls, whole, NOBODY, Speech(seed=3))
    assert whole.audio == sink.audio


def test_what_an_earlier_attempt_had_is_skipped():
    import torch

    tensor = tensors.from_torch(torch.arange(12.0).reshape(4, 3))
    for count in range(6):
        assert (
            tensors.to_torch(without_first(tensor, count)).tolist() == torch.arange(12.0).reshape(4, 3)[count:].tolist()
        )
