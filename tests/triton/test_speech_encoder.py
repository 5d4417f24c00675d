"""The speech encoder gives the same embeddings and transcripts from a Triton server as from its own engine."""

import asyncio

import grpc
import numpy as np
import pytest
import torch
from tritonclient.grpc.aio import InferenceServerClient

from parley.media.audio import to_pcm16
from protos.parley.v1 import speech_encoder_pb2 as pb
from protos.parley.v1.speech_encoder_pb2_grpc import SpeechEncoderStub
from services.rpc import tensors

RATE = 16_000
CHUNK_SAMPLES = 4 * 4 * 160  # of the model: 4 frames of 4 mel frames of 10 ms
# What makes 5 chunks exactly: the last call has no frame left, and only the adapter's end is to come.
WHOLE_CHUNKS = 5 * CHUNK_SAMPLES + 3 * 160 + 240
LENGTHS = (1500, 9000, 40_000, WHOLE_CHUNKS, WHOLE_CHUNKS - 160, 23_456, 31_000, 5000)  # samples


def speech(samples: int, seed: int) -> bytes:
    return to_pcm16(0.1 * np.random.default_rng(seed).standard_normal(samples)).tobytes()


def messages(data: bytes, piece: int) -> list[pb.EncodeSpeechRequest]:
    found = [pb.EncodeSpeechRequest(open=pb.EncodeSpeechOpen(session_id="s", turn_id="t", sample_rate=RATE))]
    found += [pb.EncodeSpeechRequest(audio=data[i : i + piece]) for i in range(0, len(data), piece)]
    found.append(pb.EncodeSpeechRequest(end=pb.EncodeSpeechEnd()))
    for i, message in enumerate(found):
        message.sequence = i
    return found


async def listen(channel, data: bytes, piece: int) -> tuple[torch.Tensor, str]:
    """Sends an utterance a piece at a time, so that several interleave. Returns embeddings and transcript."""

    async def slowly():
        for message in messages(data, piece):
            yield message
            await asyncio.sleep(0.01)

    responses = [response async for response in SpeechEncoderStub(channel).Encode(slowly())]
    chunks = [tensors.to_torch(response.chunk.embeddings) for response in responses[:-1]]
    return torch.cat(chunks), responses[-1].done.transcript


async def listen_to_all(channel) -> list[tuple[torch.Tensor, str]]:
    utterances = [speech(length, seed) for seed, length in enumerate(LENGTHS)]
    return await asyncio.gather(*(listen(channel, data, 2000 + 900 * i) for i, data in enumerate(utterances)))


async def test_interleaved_utterances_are_encoded_as_by_the_local_engine(run_service, triton):
    async with run_service("speech_encoder") as (_, channel):
        wanted = await listen_to_all(channel)
    async with run_service("speech_encoder", triton.url) as (service, channel):
        got = await listen_to_all(channel)
        assert service.engine.backend.slot_bytes == 0  # the state is not here
        assert service.engine.backend._utterances == {}
    for (found, text), (expected, words) in zip(got, wanted, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
        assert text == words


async def listen_with_pauses(channel, data: bytes, piece: int) -> list[tuple[torch.Tensor, str]]:
    """Sends a pause behind each piece and waits for its tail. Returns the tails, and last what was not of a tail."""
    call, found, rest = SpeechEncoderStub(channel).Encode(), [], []
    opening, *audio, end = messages(data, piece)
    pause = pb.EncodeSpeechRequest(pause=pb.EncodeSpeechPause())
    for sequence, message in enumerate([opening, *(each for part in audio for each in (part, pause)), end]):
        message.sequence = sequence
        await call.write(message)
        while message is pause and len(found) < sequence // 2:
            chunk = (await call.read()).chunk
            pair = (tensors.to_torch(chunk.embeddings), chunk.transcript)
            (found if chunk.tail else rest).append(pair)
    while (response := await call.read()).WhichOneof("message") == "chunk":
        rest.append((tensors.to_torch(response.chunk.embeddings), response.chunk.transcript))
    return [*found, (torch.cat([embeddings for embeddings, _ in rest]), response.done.transcript)]


async def test_tails_are_as_of_the_local_engine_and_change_nothing(run_service, triton):
    data = speech(30_000, 6)
    async with run_service("speech_encoder") as (_, channel):
        wanted = await listen_with_pauses(channel, data, 9000)
    async with run_service("speech_encoder", triton.url) as (service, channel):
        got = await listen_with_pauses(channel, data, 9000)
        uninterrupted = await listen(channel, data, 9000)
        assert service.engine.backend._utterances == {}
    assert len(got) == len(wanted) == 8
    for (found, text), (expected, words) in zip([*got, got[-1]], [*wanted, uninterrupted], strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
        assert text == words


async def test_services_share_a_server(run_service, triton):
    async with run_service("speech_encoder") as (_, channel):
        wanted = await listen(channel, speech(30_000, 1), 3000)
    one, two = run_service("speech_encoder", triton.url), run_service("speech_encoder", triton.url)
    async with one as (_, first), two as (_, second):
        pairs = await asyncio.gather(*(listen(each, speech(30_000, 1), 3000) for each in (first, second) * 3))
    for found, text in pairs:
        torch.testing.assert_close(found, wanted[0], rtol=1e-3, atol=1e-3)
        assert text == wanted[1]


async def test_the_state_of_an_utterance_that_is_given_up_is_dropped(run_service, triton):
    async with run_service("speech_encoder", triton.url) as (service, channel):
        backend = service.engine.backend
        call = SpeechEncoderStub(channel).Encode()
        for message in messages(speech(16_000, 3), 32_000)[:-1]:
            await call.write(message)
        assert (await call.read()).chunk.embeddings.shape[0] > 0
        (utterance,) = backend._utterances.values()
        call.cancel()
        async with asyncio.timeout(30):
            while backend._utterances or backend._model._in_flight:
                await asyncio.sleep(0.01)
        # The sequence is unknown to the server now: it does not go on.
        with pytest.raises(Exception, match="must specify the START flag"):
            await go_on(triton.url, backend._model.name, utterance.sequence)


async def go_on(url: str, model: str, sequence: int) -> None:
    from services.engine.triton import _input

    inputs = {"features": np.zeros([1, 19, 80], np.float32), "counts": np.ones([1, 1], np.int64)}
    inputs["last"] = np.ones([1, 1], np.bool_)
    async with InferenceServerClient(url) as client:
        await client.infer(model, [_input(*each) for each in inputs.items()], sequence_id=sequence)


async def test_another_way_of_cutting_utterances_is_refused(run_service, triton):
    with pytest.raises(ValueError, match="has chunk_size 4, but this service needs 8; export"):
        async with run_service("speech_encoder", triton.url, chunk_size=8):
            pass
    with pytest.raises(ValueError, match="encodes whole utterances has no fixed step"):
        async with run_service("speech_encoder", triton.url, chunk_size=-1):
            pass


async def test_late_callers_are_ended(run_service, triton):
    async with run_service("speech_encoder", triton.url, idle_seconds=0.1) as (service, channel):
        call = SpeechEncoderStub(channel).Encode()
        await call.write(messages(b"", 2)[0])
        assert await call.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        async with asyncio.timeout(30):
            while service.engine.live:
                await asyncio.sleep(0.01)
