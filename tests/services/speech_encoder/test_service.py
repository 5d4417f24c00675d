"""The speech encoder as its clients see it, over real gRPC, with the real engine."""

import asyncio
import threading
import time

import grpc
import numpy as np
import pytest
import torch
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from parley.checkpoints import load_model
from parley.media.audio import from_pcm16, to_pcm16
from parley.models.filter_bank import MelFrames, fbank
from protos.parley.v1 import speech_encoder_pb2 as pb
from protos.parley.v1.speech_encoder_pb2_grpc import SpeechEncoderStub
from protos.parley.v1.usage_pb2 import FINISH_REASON_STOP
from services.engine.load import Load
from services.registry import SERVICES
from services.rpc import tensors
from services.rpc.errors import retry_after
from services.rpc.server import start_server
from services.rpc.streams import deadline_in
from services.speech_encoder.service import SpeechEncoderService
from services.speech_encoder.settings import SpeechEncoderSettings

RATE = 16_000


def speech(seconds: float, seed: int = 0) -> bytes:
    rng = np.random.default_rng(seed)
    return to_pcm16(0.1 * rng.standard_normal(int(seconds * RATE))).tobytes()


def numbered(*messages: pb.EncodeSpeechRequest) -> list[pb.EncodeSpeechRequest]:
    for i, message in enumerate(messages):
        message.sequence = i
    return list(messages)


def opening(**fields) -> pb.EncodeSpeechRequest:
    return pb.EncodeSpeechRequest(
        open=pb.EncodeSpeechOpen(**{"session_id": "s", "turn_id": "t", "sample_rate": RATE} | fields)
    )


def audio(data: bytes) -> pb.EncodeSpeechRequest:
    return pb.EncodeSpeechRequest(audio=data)


def end() -> pb.EncodeSpeechRequest:
    return pb.EncodeSpeechRequest(end=pb.EncodeSpeechEnd())


def pause(number: int) -> pb.EncodeSpeechRequest:
    return pb.EncodeSpeechRequest(pause=pb.EncodeSpeechPause(number=number))


def utterance(data: bytes, piece: int = 3200) -> list[pb.EncodeSpeechRequest]:
    pieces = [audio(data[i : i + piece]) for i in range(0, len(data), piece)]
    return numbered(opening(), *pieces, end())


class Client:
    def __init__(self, service: SpeechEncoderService, channel: grpc.aio.Channel):
        self.service, self.stub = service, SpeechEncoderStub(channel)
        self.health = HealthStub(channel)

    async def listen(self, messages) -> list[pb.EncodeSpeechResponse]:
        return [response async for response in self.stub.Encode(messages) if response.WhichOneof("message")]

    async def refused(self, messages) -> grpc.aio.AioRpcError:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.listen(messages)
        return caught.value

    async def emptied(self) -> None:
        """Waits until no slot is in use."""
        async with asyncio.timeout(60):
            while self.service.engine.live or self.service.engine._slots:
                await asyncio.sleep(0.01)


@pytest.fixture
async def start(tiny_checkpoint):
    """Starts the service with given settings."""
    running = []

    async def build(**settings) -> Client:
        service = SpeechEncoderService(SpeechEncoderSettings(checkpoint=tiny_checkpoint, stop_seconds=0, **settings))
        await service.start()
        server, port = await start_server(SERVICES["speech_encoder"], service)
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        running.append((service, server, channel))
        return Client(service, channel)

    yield build
    for service, server, channel in running:
        await channel.close()
        await server.stop(None)
        await service.stop()


@torch.inference_mode()
def expected(tiny_checkpoint, data: bytes):
    model = load_model(tiny_checkpoint, ["speech_encoder", "speech_adapter", "ctc_head"])
    features = fbank(from_pcm16(data), model.config.speech)[None]
    frames, lengths = model.speech_encoder(features, torch.tensor([features.shape[1]]))
    return model.speech_adapter(frames, lengths)[0][0], model.ctc_head.transcribe(frames[0])


def check(responses: list[pb.EncodeSpeechResponse], data: bytes, wanted) -> None:
    embeddings, transcript = wanted
    assert [response.sequence for response in responses] == list(range(len(responses)))
    got = torch.cat([tensors.to_torch(response.chunk.embeddings) for response in responses[:-1]])
    torch.testing.assert_close(got, embeddings, rtol=1e-4, atol=1e-4)
    done = responses[-1].done
    assert (done.transcript, done.length) == (transcript, len(embeddings))
    assert done.usage.audio_input_seconds == pytest.approx(len(data) / 2 / RATE)
    assert done.compute_seconds > 0 and done.finish_reason == FINISH_REASON_STOP


async def test_describe(start):
    info = (await start(max_seconds=7.5)).service.describe()
    assert list(info.parts) == ["speech_encoder", "speech_adapter", "ctc_head"] and info.transcribes
    # Mel frames of 10 ms, 4 of them an encoder frame, 2 of those an embedding.
    assert (info.input_sample_rate, info.embedding_rate, info.max_audio_seconds) == (RATE, 12.5, 7.5)


async def test_a_model_without_a_ctc_head_gives_embeddings_alone(start, monkeypatch):
    monkeypatch.setattr("services.speech_encoder.service.OPTIONAL_PARTS", ())
    client = await start()
    assert not client.service.describe().transcribes
    done = (await client.listen(utterance(speech(0.5))))[-1].done
    assert done.length > 0 and done.transcript == ""


async def test_utterances_in_one_batch_are_encoded_as_alone(start, tiny_checkpoint):
    client = await start(max_batch=3)
    data = [speech(0.3 + 0.4 * i, i) for i in range(6)]
    answers = await asyncio.gather(*(client.listen(utterance(d, 500 + 700 * i)) for i, d in enumerate(data)))
    for d, responses in zip(data, answers, strict=True):
        check(responses, d, expected(tiny_checkpoint, d))
    await client.emptied()


async def test_embeddings_come_before_the_utterance_ends(start):
    client = await start()
    call = client.stub.Encode()
    first, second, last = numbered(opening(), audio(speech(1.0)), end())
    await call.write(first)
    await call.write(second)
    response = await call.read()
    assert response.chunk.embeddings.shape[0] > 0
    await call.write(last)
    while response.WhichOneof("message") == "chunk":
        response = await call.read()
    assert response.done.length > 0


async def test_a_stream_without_audio_has_a_heartbeat(start, monkeypatch):
    monkeypatch.setattr("services.rpc.streams.HEARTBEAT_SECONDS", 0.05)
    call = (await start()).stub.Encode()
    await call.write(*numbered(opening()))
    assert [await call.read() for _ in range(2)] == 2 * [pb.EncodeSpeechResponse()]


async def test_a_pause_is_answered_with_what_the_end_would_give(start, tiny_checkpoint):
    client = await start(chunk_size=4, left_chunks=-1)
    data = speech(1.3)
    ends = (0, 2000, 14_000, 30_000)
    call, responses = client.stub.Encode(), []
    pieces = [(pause(a + 7), audio(data[a:b])) for a, b in zip(ends, (*ends[1:], len(data)), strict=True)]
    for message in numbered(opening(), *(each for pair in pieces for each in pair), end()):
        await call.write(message)
        if message.WhichOneof("message") == "pause":
            responses.append(await call.read())
            while not responses[-1].chunk.tail:
                responses.append(await call.read())
            assert responses[-1].chunk.pause_number == message.pause.number
    while responses[-1].WhichOneof("message") == "chunk":
        responses.append(await call.read())
    whole = await client.listen(utterance(data))
    rest = [response for response in responses if not response.chunk.tail]
    assert joined(rest).equal(joined(whole)) and rest[-1].done.length == whole[-1].done.length
    assert rest[-1].done.transcript == whole[-1].done.transcript
    tails = [i for i, response in enumerate(responses) if response.chunk.tail]
    assert len(tails) == len(ends) and [response.sequence for response in responses] == list(range(len(responses)))
    for place, length in zip(tails[2:], ends[2:], strict=True):  # the first two are of too little to end
        ended = await client.listen(utterance(data[:length]))
        before = [response for response in responses[:place] if not response.chunk.tail]
        torch.testing.assert_close(joined([*before, responses[place]]), joined(ended), rtol=1e-5, atol=1e-5)
        assert responses[place].chunk.transcript == ended[-1].done.transcript
    assert [tensors.to_torch(responses[place].chunk.embeddings).shape[0] for place in tails[:2]] == [0, 0]


def joined(responses: list[pb.EncodeSpeechResponse]) -> torch.Tensor:
    """The embeddings of the chunks."""
    chunks = [response.chunk for response in responses if response.WhichOneof("message") == "chunk"]
    return torch.cat([tensors.to_torch(chunk.embeddings) for chunk in chunks])


async def test_pauses_that_nobody_waits_for_take_each_others_place(start):
    client = await start()
    half = audio(speech(0.5))
    messages = numbered(opening(), half, *(pause(number) for number in range(50)), audio(speech(0.5)), end())
    responses = await client.listen(messages)
    tails = [response.chunk.pause_number for response in responses if response.chunk.tail]
    assert len(tails) < 50 and tails == sorted(set(tails)) and set(tails) <= set(range(50))
    assert responses[-1].done.length == (await client.listen(utterance(speech(1.0))))[-1].done.length


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        (numbered(audio(b"")), "begins with one `open`"),
        (numbered(opening(sample_rate=44_100), end()), "the audio has 44100 Hz; this model reads 16000 Hz"),
        (numbered(opening(), audio(b"abc"), end()), "even number of bytes, not 3"),
        (numbered(opening(), end()), "0 ms of audio is too short"),
        (numbered(opening(), audio(speech(0.05)), end()), "50 ms of audio is too short; send at least 85 ms"),
        (
            [*numbered(opening(), audio(speech(0.1))), pb.EncodeSpeechRequest(sequence=3, end=pb.EncodeSpeechEnd())],
            "message 3 came",
        ),
        (numbered(opening(), opening(), end()), "has no second"),
    ],
)
async def test_bad_input_is_named_and_leaves_nothing_behind(start, messages, reason):
    client = await start()
    error = await client.refused(messages)
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert reason in error.details()
    await client.emptied()
    assert (await client.listen(utterance(speech(0.5))))[-1].done.length > 0


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        (utterance(speech(1.2)), "longer than 1 s"),
        (numbered(opening(), audio(speech(0.9)), end()), "an audio message of 28800 bytes; send at most 20000"),
    ],
)
async def test_what_is_above_a_limit_is_refused(start, messages, reason):
    client = await start(max_seconds=1.0, max_message_bytes=20_000)
    error = await client.refused(messages)
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert reason in error.details()
    assert retry_after(error) == 0
    await client.emptied()


async def test_a_full_service_refuses_until_one_has_ended(start):
    client = await start(max_utterances=1)
    held = client.stub.Encode()
    await held.write(numbered(opening())[0])
    async with asyncio.timeout(60):
        while not client.service.engine.live:
            await asyncio.sleep(0.01)
    error = await client.refused(utterance(speech(0.5)))
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "at capacity: 1 utterances" in error.details()
    assert retry_after(error) > 0
    held.cancel()
    await client.emptied()
    assert (await client.listen(utterance(speech(0.5))))[-1].done.length > 0


async def test_a_stream_without_an_end_is_cancelled(start):
    client = await start()
    error = await client.refused(numbered(opening(), audio(speech(0.5))))
    assert error.code() == grpc.StatusCode.CANCELLED
    assert "without `end`" in error.details()
    await client.emptied()


async def test_silent_and_late_clients_are_ended(start):
    client = await start(idle_seconds=0.1)
    for fields, reason in (({}, "nothing arrived"), ({"deadline_ms": deadline_in(0.05)}, "deadline")):
        call = client.stub.Encode()
        await call.write(numbered(opening(**fields))[0])
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert reason in caught.value.details()
    error = await client.refused(numbered(opening(deadline_ms=int(time.time() * 1000) - 5000), end()))
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    await client.emptied()


async def test_a_failing_step_ends_its_utterances_and_no_others(start, monkeypatch):
    client = await start()
    engine = client.service.engine
    step, broken = engine.stream.step, [True]

    def fail_once(limit=None):
        if broken.pop() if broken else False:
            raise RuntimeError("out of memory")
        return step(limit)

    monkeypatch.setattr(engine.stream, "step", fail_once)
    error = await client.refused(utterance(speech(0.5)))
    assert error.code() == grpc.StatusCode.INTERNAL
    assert "memory" not in error.details()
    await client.emptied()
    assert (await client.listen(utterance(speech(0.5))))[-1].done.length > 0
    assert client.service.alive


async def test_an_error_before_a_batch_is_chosen_leaves_the_utterances_of_the_last_one_alone(start, monkeypatch):
    client = await start(chunk_size=4)
    stream = client.service.engine.stream
    ready, warmed_up, broken = stream.ready, stream.steps, [True]

    def fail_after_a_step():
        if stream.steps > warmed_up and broken:
            broken.pop()
            raise RuntimeError("out of memory")
        return ready()

    monkeypatch.setattr(stream, "ready", fail_after_a_step)
    assert (await client.listen(utterance(speech(1.0))))[-1].done.length > 0
    assert not broken


async def test_audio_that_breaks_the_filter_bank_fails_its_utterance_alone(start, monkeypatch):
    client = await start()
    feed = MelFrames.feed

    def fail_on_loud(self, samples):
        if abs(samples).max() > 0.9:
            raise RuntimeError("a filter bank overflowed")
        return feed(self, samples)

    monkeypatch.setattr(MelFrames, "feed", fail_on_loud)
    loud = to_pcm16(np.ones(8000)).tobytes()
    good, error = await asyncio.gather(client.listen(utterance(speech(0.5))), client.refused(utterance(loud)))
    assert error.code() == grpc.StatusCode.INTERNAL and "overflowed" not in error.details()
    assert good[-1].done.length > 0
    await client.emptied()
    assert client.service.alive


async def test_nothing_waits_for_the_filter_bank_and_nothing_overtakes_it(start, tiny_checkpoint, monkeypatch):
    client = await start()
    data = speech(0.8, 1)
    wanted, feed, held = expected(tiny_checkpoint, data), MelFrames.feed, threading.Event()

    def wait_and_feed(self, samples):
        assert held.wait(20)
        assert threading.current_thread().name.startswith("speech_encoder-filter-bank")
        return feed(self, samples)

    monkeypatch.setattr(MelFrames, "feed", wait_and_feed)
    gone = client.stub.Encode(utterance(speech(0.5)))
    listening = asyncio.create_task(client.listen(utterance(data)))
    engine = client.service.engine
    async with asyncio.timeout(20):
        while engine.filter_bank._work_queue.qsize() < 5:  # both have sent, and the event loop runs on
            await asyncio.sleep(0.01)
        gone.cancel()
        while len(engine._slots) != 1 or len(engine.live) != 1:  # the engine's thread does too
            await asyncio.sleep(0.01)
    held.set()
    check(await listening, data, wanted)
    await client.emptied()


async def test_an_engine_that_dies_fails_waiting_streams_and_health(start, monkeypatch):
    client = await start()
    assert (await client.health.Check(HealthCheckRequest())).status == HealthCheckResponse.SERVING
    call = client.stub.Encode()
    await call.write(numbered(opening())[0])
    async with asyncio.timeout(60):
        while not client.service.engine._slots:
            await asyncio.sleep(0.01)
    monkeypatch.setattr(client.service.engine.stream, "ready", lambda: 1 / 0)
    await call.write(pb.EncodeSpeechRequest(sequence=1, audio=speech(0.1)))
    with pytest.raises(grpc.aio.AioRpcError):
        async for _ in call:  # a heartbeat may come before
            pass
    assert await call.code() == grpc.StatusCode.INTERNAL
    assert "division" not in await call.details()
    assert (await client.health.Check(HealthCheckRequest())).status == HealthCheckResponse.NOT_SERVING
    error = await client.refused(utterance(speech(0.5)))
    assert error.code() == grpc.StatusCode.UNAVAILABLE and "has failed" in error.details()


async def test_chunks_may_be_set_in_the_environment(start, monkeypatch):
    monkeypatch.setenv("PARLEY_SPEECH_ENCODER_CHUNK_SIZE", "-1")
    client = await start()
    responses = await client.listen(utterance(speech(1.0)))
    assert [response.WhichOneof("message") for response in responses] == ["chunk", "done"]


async def test_a_stopped_engine_is_not_healthy(tiny_checkpoint):
    service = SpeechEncoderService(SpeechEncoderSettings(checkpoint=tiny_checkpoint, stop_seconds=0))
    await service.start()
    assert service.alive
    await service.stop()
    assert not service.alive


async def test_the_load_counts_utterances_and_the_time_of_their_chunks(start):
    client = await start(max_utterances=3)
    engine = client.service.engine
    assert engine.current_load() == Load(3, 0, 0, None)
    ending = asyncio.Event()

    async def talking():
        for message in utterance(speech(2.0))[:-1]:
            yield message
        await ending.wait()
        last = end()
        last.sequence = len(utterance(speech(2.0))) - 1
        yield last

    calls = [asyncio.create_task(client.listen(talking())) for _ in range(2)]
    async with asyncio.timeout(20):
        while engine.current_load().used < 2 or engine.current_load().real_time_factor is None:
            await asyncio.sleep(0.01)
    ending.set()
    await asyncio.gather(*calls)
    await client.emptied()
    load = engine.current_load()
    assert (load.used, load.queued) == (0, 0) and load.real_time_factor > 0
