"""A prompt as it arrives: order, what is asked for, and where large tensors are converted."""

from __future__ import annotations

import threading

import pytest
import torch

from protos.parley.v1 import language_model_pb2 as pb
from protos.parley.v1.tensor_pb2 import EmbeddingRef, Embeddings
from services.llm_core.encoder_cache import EncoderCache
from services.llm_core.prompt_stream import LARGE_BYTES, TEXT_COST, PromptStream, in_thread_if_large
from services.llm_core.prompts import PromptReader
from services.llm_core.requests import GenerationRequest
from services.llm_core.sampler import Sampling
from services.llm_core.text_limit import TextLimit
from services.rpc import tensors
from services.rpc.errors import ServiceError


class FakeEngine:
    """Keeps the commands of its requests."""

    service = "llm_core"
    max_length = 100

    def __init__(self):
        self.commands = []

    def post(self, kind, request, content):
        self.commands.append((kind, content))


@pytest.fixture
def reader(tiny_config, tiny_tokenizer) -> PromptReader:
    return PromptReader(tiny_config.language, tiny_tokenizer, torch.full((2, 48), 0.5), torch.float32)


@pytest.fixture
async def stream(reader):
    """(the stream, its request, the engine)"""
    engine = FakeEngine()
    request = GenerationRequest(engine, "s", "t", None, Sampling())
    return PromptStream(request, reader, EncoderCache(1 << 20), TextLimit(100_000)), request, engine


def ref(name: str, length: int = 3) -> EmbeddingRef:
    return EmbeddingRef(weights="w", hash=name, length=length)


def embeddings(of: EmbeddingRef) -> Embeddings:
    return Embeddings(ref=of, tensor=tensors.from_torch(torch.randn(of.length, 48)))


async def test_what_stands_behind_missing_embeddings_waits(stream):
    prompt, request, engine = stream
    for part in (pb.Part(text="look"), pb.Part(image=ref("a")), pb.Part(text="and"), pb.Part(image=ref("b"))):
        await prompt.receive("part", part)
    assert [kind for kind, _ in engine.commands] == ["append"]
    assert [[found.hash for found in (await request.next()).refs] for _ in "ab"] == [["a"], ["b"]]
    await prompt.receive("respond", pb.GenerateRespond())
    await prompt.receive("embeddings", embeddings(ref("b")))
    assert len(engine.commands) == 1 and not prompt.complete
    await prompt.receive("embeddings", embeddings(ref("a")))
    assert [kind for kind, _ in engine.commands] == ["append", "respond"] and prompt.complete


async def test_a_prompt_that_is_too_long_is_refused_before_its_embeddings_come(stream):
    prompt, _, _ = stream
    await prompt.receive("part", pb.Part(image=ref("a", 60)))
    with pytest.raises(ServiceError, match="the prompt is 100 tokens long"):
        await prompt.receive("part", pb.Part(image=ref("b", 40)))


async def test_a_part_does_not_follow_respond(stream):
    prompt, _, _ = stream
    await prompt.receive("respond", pb.GenerateRespond())
    with pytest.raises(ValueError, match="`part` came after `respond`"):
        await prompt.receive("part", pb.Part(text="more"))


async def test_large_inputs_leave_the_event_loop_free():
    here = threading.current_thread()
    assert await in_thread_if_large(LARGE_BYTES, threading.current_thread) is here
    assert await in_thread_if_large(LARGE_BYTES + 1, threading.current_thread) is not here


async def test_a_large_picture_is_converted_in_a_thread(stream, reader, monkeypatch):
    prompt, _, _ = stream
    threads, convert = [], reader.embeddings
    monkeypatch.setattr(
        reader, "embeddings", lambda tensor: threads.append(threading.current_thread()) or convert(tensor)
    )
    for length in (3, 1000):
        await prompt.receive("embeddings", embeddings(ref(str(length), length)))
    assert [thread is threading.main_thread() for thread in threads] == [True, False]


@pytest.mark.parametrize("field", ["text", "fallback"])
async def test_a_long_text_is_tokenized_in_a_thread(stream, reader, monkeypatch, field):
    prompt, _, _ = stream
    threads = []
    monkeypatch.setattr(reader, "part", lambda part, after_speech: threads.append(threading.current_thread()) or [])
    for length in (10, LARGE_BYTES // TEXT_COST + 1):
        text = "a" * length
        part = pb.Part(text=text) if field == "text" else pb.Part(image=ref("a"), fallback=text)
        await prompt.receive("part", part)
    assert [thread is threading.main_thread() for thread in threads] == [True, False]
