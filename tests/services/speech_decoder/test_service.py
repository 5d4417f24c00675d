"""The speech decoder as its clients see it, over real gRPC, with the real engine."""

import asyncio
import time
from itertools import pairwise

import grpc
import numpy as np
import pytest
import torch

from parley.checkpoints import load_model
from parley.media.audio import from_pcm16
from parley.text.clauses import split
from protos.parley.v1 import speech_decoder_pb2 as pb
from protos.parley.v1.speech_decoder_pb2_grpc import SpeechDecoderStub
from protos.parley.v1.usage_pb2 import FINISH_REASON_LENGTH, FINISH_REASON_STOP
from services.engine.load import Load
from services.registry import SERVICES
from services.rpc.errors import retry_after
from services.rpc.server import start_server
from services.rpc.streams import deadline_in
from services.speech_decoder.service import SpeechDecoderService
from services.speech_decoder.settings import SpeechDecoderSettings

RATE = 24_000
WORDS = ["hello", ",", " how", " are", " you", " today", "?", " i", " am", " par", "ley", "."]
IDS = [20 + i for i in range(len(WORDS))]


def numbered(messages: list[pb.SynthesizeRequest], end: bool, **fields) -> list[pb.SynthesizeRequest]:
    """A stream of these messages, with `fields` in its open message."""
    opening = pb.SynthesizeRequest(open=pb.SynthesizeOpen(**{"session_id": "s", "turn_id": "t"} | fields))
    messages = [opening, *messages, *([pb.SynthesizeRequest(end=pb.SynthesizeEnd())] if end else [])]
    for i, message in enumerate(messages):
        message.sequence = i
    return messages


def token(id: int, text: str) -> pb.SynthesizeRequest:
    return pb.SynthesizeRequest(token=pb.SynthesizeToken(id=id, text=text))


def answer(ids=IDS, words=WORDS, end=True, **fields) -> list[pb.SynthesizeRequest]:
    return numbered([token(id, text) for id, text in zip(ids, words, strict=True)], end, **fields)


def as_text(*pieces: str, **fields) -> list[pb.SynthesizeRequest]:
    return numbered([pb.SynthesizeRequest(text=piece) for piece in pieces], end=True, **fields)


class Client:
    def __init__(self, service: SpeechDecoderService, stub: SpeechDecoderStub):
        self.service, self.stub = service, stub

    async def synthesize(self, messages) -> tuple[list[pb.AudioChunk], pb.SynthesizeDone]:
        responses = [each async for each in self.stub.Synthesize(messages) if each.WhichOneof("message")]
        assert [response.sequence for response in responses] == list(range(len(responses)))
        return [response.chunk for response in responses[:-1]], responses[-1].done

    async def refused(self, messages) -> grpc.aio.AioRpcError:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.synthesize(messages)
        return caught.value

    async def emptied(self) -> None:
        """Waits until no slot is in use."""
        engine = self.service.engine
        async with asyncio.timeout(60):
            while engine.live or engine._slots or engine._waiting or engine.sequences.size:
                await asyncio.sleep(0.01)


@pytest.fixture
async def start(tiny_checkpoint):
    """Starts the service with given settings."""
    running = []

    async def build(**settings) -> Client:
        service = SpeechDecoderService(
            SpeechDecoderSettings(checkpoint=tiny_checkpoint, **{"stop_seconds": 0} | settings)
        )
        await service.start()
        server, port = await start_server(SERVICES["speech_decoder"], service)
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        running.append((service, server, channel))
        return Client(service, SpeechDecoderStub(channel))

    yield build
    for service, server, channel in running:
        await channel.close()
        await server.stop(0)
        await service.stop()


def waveform(chunks) -> np.ndarray:
    return from_pcm16(b"".join(chunk.audio for chunk in chunks))


@pytest.fixture(scope="module")
def whole(tiny_checkpoint):
    """The answer synthesized in one piece, clause by clause, without pauses."""
    model = load_model(tiny_checkpoint, ("speech_decoder", "codec_decoder", "language"))

    @torch.inference_mode()
    def synthesize(ids=IDS, words=WORDS) -> np.ndarray:
        table = model.language.get_input_embeddings().weight
        waveforms = []
        for clause in split(list(ids), list(words)):
            codes = model.speech_decoder.generate(clause.ids, table)
            waveforms.append(model.codec_decoder(codes[None], torch.tensor([model.config.codec.default_speaker]))[0])
        return torch.cat(waveforms).numpy()

    return synthesize


async def test_a_stream_is_what_the_model_synthesizes(start, whole):
    client = await start(sentence_pause_ms=0, clause_pause_ms=0)
    chunks, done = await client.synthesize(answer())
    made, wanted = waveform(chunks), whole()
    assert len(made) == len(wanted) and len(chunks) > 3
    # The tiny checkpoint decodes with less than its generator's reach around a chunk: close, and equal at the start.
    np.testing.assert_allclose(made[:600], wanted[:600], atol=2e-3)
    assert done.usage.audio_output_seconds == pytest.approx(len(made) / RATE)
    assert done.weights == client.service.checkpoint.fingerprint
    assert 0 < done.first_audio_seconds < done.compute_seconds + 5
    assert {chunk.sample_rate for chunk in chunks} == {RATE}


async def test_text_grows_to_the_whole_answer(start):
    client = await start()
    chunks, _ = await client.synthesize(answer())
    texts = [chunk.text for chunk in chunks]
    assert texts[-1] == "".join(WORDS)
    assert all(later.startswith(earlier) for earlier, later in pairwise(texts))
    assert len(set(texts)) > 2


async def test_a_stream_without_text_has_a_heartbeat(start, monkeypatch):
    monkeypatch.setattr("services.rpc.streams.HEARTBEAT_SECONDS", 0.05)
    call = (await start()).stub.Synthesize()
    await call.write(answer(end=False)[0])
    assert [await call.read() for _ in range(2)] == 2 * [pb.SynthesizeResponse()]


async def test_the_first_chunk_is_short_and_comes_before_the_end(start):
    client = await start(first_chunk_tokens=3)
    call = client.stub.Synthesize()
    for message in answer(end=False):
        await call.write(message)
    first = await call.read()
    assert len(first.chunk.audio) == 3 * 600 * 2
    await call.write(pb.SynthesizeRequest(sequence=len(WORDS) + 1, end=pb.SynthesizeEnd()))
    while (response := await call.read()).WhichOneof("message") != "done":
        assert response.chunk.audio


async def test_answers_in_one_batch_are_synthesized_as_alone(start):
    client = await start(max_batch=2, max_clause_seconds=0.5)
    answers = [answer(ids=[30 + k + i for i in range(len(WORDS))]) for k in range(4)]
    alone = [waveform((await client.synthesize(messages))[0]) for messages in answers]
    together = await asyncio.gather(*(client.synthesize(messages) for messages in answers))
    for (chunks, _), want in zip(together, alone, strict=True):
        np.testing.assert_allclose(waveform(chunks), want, atol=2e-3)
    await client.emptied()


async def test_the_same_seed_gives_the_same_audio(start):
    client = await start(top_k=5, max_clause_seconds=0.5)
    one, two, other = [waveform((await client.synthesize(answer(seed=seed)))[0]) for seed in (3, 3, 4)]
    assert np.array_equal(one, two)
    assert len(one) != len(other) or not np.array_equal(one, other)


async def test_speakers(start):
    client = await start(max_clause_seconds=0.5)
    asked = ({}, {"speaker": "default"}, {"speaker_tokens": [1, 2]}, {"speaker_tokens": [5, 6], "speaker": "default"})
    default, *same, other = [waveform((await client.synthesize(answer(**fields)))[0]) for fields in asked]
    assert all(np.array_equal(default, audio) for audio in same)
    assert not np.allclose(default, other, atol=1e-3)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"speaker_tokens": [1]}, "a speaker is 2 tokens from 0 to 7; got [1]"),
        ({"speaker_tokens": [1, 8]}, "a speaker is 2 tokens from 0 to 7"),
        ({"speaker_tokens": [-1, 0]}, "a speaker is 2 tokens from 0 to 7"),
        ({"speaker": "nobody"}, "no speaker 'nobody'; there are: default"),
    ],
)
async def test_unknown_speakers_are_refused(start, fields, reason):
    client = await start()
    error = await client.refused(answer(**fields)[:1])
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT and reason in error.details()
    assert not client.service.engine.live


async def test_describe(start):
    info = (await start()).service.describe()
    assert list(info.parts) == ["speech_decoder", "codec_decoder"]
    assert (info.output_sample_rate, info.codec_frame_rate, info.num_speaker_tokens) == (24_000, 40.0, 2)
    assert [(speaker.name, list(speaker.tokens)) for speaker in info.speakers] == [("default", [1, 2])]


TEXT = "hello, how are you today? i am parley, and i can see."


async def test_text_in_any_pieces_gives_the_audio_of_its_tokens(start, tiny_tokenizer):
    client = await start(max_clause_seconds=0.5)
    encoding = tiny_tokenizer.encode(TEXT)
    words = [TEXT[begin:end] for begin, end in encoding.offsets]
    assert "".join(words) == TEXT
    wanted, _ = await client.synthesize(answer(encoding.ids, words))
    for size in (1, 3, len(TEXT)):
        chunks, done = await client.synthesize(as_text(*(TEXT[i : i + size] for i in range(0, len(TEXT), size))))
        assert np.array_equal(waveform(chunks), waveform(wanted))
        assert chunks[-1].text == TEXT
        assert done.usage.audio_output_seconds > 0


async def test_a_clause_of_text_is_synthesized_before_the_end(start):
    client = await start(first_chunk_tokens=3)
    call = client.stub.Synthesize()
    for message in as_text("hello, how are you today? i")[:2]:
        await call.write(message)
    assert (await call.read()).chunk.audio
    call.cancel()
    await client.emptied()


async def test_tokens_and_text_cannot_be_mixed(start):
    client = await start()
    for messages in ([token(20, "hello"), as_text(" you")[1]], [as_text("hello")[1], token(20, " you")]):
        error = await client.refused(numbered(messages, end=True))
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert "send only one of these kinds" in error.details()
    await client.emptied()


async def test_text_without_a_tokenizer_is_refused(start):
    client = await start()
    client.service.tokenizer = None
    error = await client.refused(as_text("hello"))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT and "send `token` messages" in error.details()
    assert (await client.synthesize(answer()))[0]


async def test_long_text_is_refused(start):
    client = await start(max_characters=10, max_tokens=5)
    for text, limit in (("hello hello hello", "10 characters"), ("a b c d e", "5 tokens")):
        error = await client.refused(as_text(text))
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED and f"longer than {limit}" in error.details()
        assert retry_after(error) == 0
    await client.emptied()


async def test_an_answer_without_words_has_no_audio(start):
    client = await start()
    for ids, words in (([], []), ([1, 2], ["...", "\n"])):
        chunks, done = await client.synthesize(answer(ids, words))
        assert chunks == [] and done.usage.audio_output_seconds == 0
        assert done.finish_reason == FINISH_REASON_STOP
    await client.emptied()


async def test_cancelled_within_a_step(start):
    client = await start(max_clause_tokens=200, later_words=300, first_words=300)
    call = client.stub.Synthesize(answer([7] * 150, [" la"] * 150))
    await call.read()
    call.cancel()
    await client.emptied()
    chunks, _ = await client.synthesize(answer())
    assert chunks


async def test_stream_that_closes_without_its_end(start):
    client = await start()
    error = await client.refused(answer(end=False))
    assert error.code() == grpc.StatusCode.CANCELLED and "without `end`" in error.details()
    await client.emptied()


async def test_silent_client(start):
    client = await start(idle_seconds=0.2)
    call = client.stub.Synthesize()
    await call.write(answer()[0])
    assert await call.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    await client.emptied()


async def test_deadline(start):
    client = await start()
    error = await client.refused(answer(deadline_ms=int(time.time() * 1000) - 5)[:1])
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    call = client.stub.Synthesize()
    await call.write(answer(deadline_ms=deadline_in(0.2))[0])
    assert await call.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    await client.emptied()


async def test_at_capacity(start):
    client = await start(max_answers=1)
    holding = client.stub.Synthesize()
    await holding.write(answer()[0])
    async with asyncio.timeout(60):
        while not client.service.engine.live:
            await asyncio.sleep(0.01)
    error = await client.refused(answer()[:1])
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED and retry_after(error) > 0
    holding.cancel()
    await client.emptied()
    assert (await client.synthesize(answer()))[0]


async def test_too_long_and_unknown_tokens(start):
    client = await start(max_tokens=5)
    error = await client.refused(answer())
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED and "longer than 5 tokens" in error.details()
    assert retry_after(error) == 0
    error = await client.refused(answer([320], ["x"]))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT and "vocabulary of 320" in error.details()
    await client.emptied()


async def test_a_clause_that_does_not_end_is_cut(start):
    client = await start(max_clause_seconds=0.5, sentence_pause_ms=0, clause_pause_ms=0)
    chunks, done = await client.synthesize(answer([7] * 4, [" la"] * 4))
    assert len(waveform(chunks)) <= 0.5 * RATE
    assert done.finish_reason == FINISH_REASON_LENGTH
    assert chunks[-1].text == " la" * 4


async def test_a_failed_step_ends_its_answers_and_no_others(start, monkeypatch):
    client = await start()
    step, broken = client.service.engine.sequences.step, []

    def break_once(tokens):
        if not broken:
            broken.append(True)
            raise RuntimeError("the device fell over")
        return step(tokens)

    monkeypatch.setattr(client.service.engine.sequences, "step", break_once)
    error = await client.refused(answer())
    assert error.code() == grpc.StatusCode.INTERNAL and "device" not in error.details()
    assert (await client.synthesize(answer()))[0]
    assert client.service.alive


async def test_graceful_stop_lets_answers_end(start):
    client = await start(stop_seconds=200.0)
    call = client.stub.Synthesize(answer())
    await call.read()
    stopping = asyncio.create_task(client.service.stop())
    while (await call.read()).WhichOneof("message") != "done":
        pass
    await stopping
    assert not client.service.alive


async def test_an_answer_that_waits_for_text_fails_when_the_service_stops(start):
    client = await start()
    call = client.stub.Synthesize()
    await call.write(pb.SynthesizeRequest(open=pb.SynthesizeOpen()))
    while not client.service.engine.live:
        await asyncio.sleep(0.01)
    await client.service.stop()
    with pytest.raises(grpc.aio.AioRpcError, match="is stopping") as caught:
        await call.read()
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert (await client.refused(answer())).code() == grpc.StatusCode.UNAVAILABLE


async def test_the_load_counts_slots_and_keeps_the_time_of_an_answer(start):
    client = await start(max_batch=2)
    engine = client.service.engine
    assert engine.current_load() == Load(2, 0, 0, None)
    seen = []
    original = engine.step

    def step() -> bool:
        worked = original()
        seen.append(engine.current_load())
        return worked

    engine.step = step
    started = time.perf_counter()
    answers = await asyncio.gather(*(client.synthesize(answer()) for _ in range(4)))
    seconds = time.perf_counter() - started
    await client.emptied()
    assert max(load.used for load in seen) == 2 and max(load.queued for load in seen) >= 1
    spoken = min(done.usage.audio_output_seconds for _, done in answers)
    # The audio counts pauses too, so the factor of the slowest answer is at most a little above the whole time's.
    assert 0 < engine.current_load().real_time_factor <= 2 * seconds / spoken
