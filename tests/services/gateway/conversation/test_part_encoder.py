"""Pictures and speech of items: encoded by the real services, found in the store and in memory, limits stated."""

from __future__ import annotations

import grpc
import pytest

from protos.parley.v1.tensor_pb2 import Tensor
from services.gateway.conversation.part_encoder import PartEncoder
from services.gateway.conversation.question import Question
from services.gateway.events.items import Ref
from services.gateway.media.embedding_writer import EmbeddingWriter
from services.gateway.media.originals import ORIGINAL, Originals
from services.gateway.settings import ConversationSettings, MediaSettings
from services.rpc.errors import ServiceError


@pytest.fixture
async def backend(make_gateway):
    return (await make_gateway()).backend


def encoder(backend, media: MediaSettings | None = None, **settings) -> PartEncoder:
    return PartEncoder(backend.store.embeddings, ConversationSettings(**settings), media or MediaSettings())


async def test_a_picture_is_in_the_store_and_can_be_encoded_again(backend, draw, monkeypatch):
    parts, calls, store = encoder(backend), backend.releases.current, backend.store.embeddings
    part = await parts.encode_image(draw("tan"), "s", calls)
    assert part.kind == "image" and part.text == "" and part.ref.length > 0
    (kept,) = (await store.get([part.ref])).values()
    assert parts.held.get(part.ref) == Tensor.FromString(kept)
    original = Ref(weights=ORIGINAL, hash=part.ref.hash, length=0)
    assert list(await store.get([original])) == [original]

    async def forget(weights, content_hash):
        return None

    monkeypatch.setattr(store, "find", forget)
    assert await Originals(store, EmbeddingWriter(store)).renew(part.ref, "s", calls) == part.ref


async def test_frames_are_one_part(backend, draw):
    frames = [draw("navy"), draw("olive")]
    parts, calls = encoder(backend), backend.releases.current
    both = await parts.encode_frames(frames, "s", calls)
    one = await parts.encode_frames(frames[:1], "s", calls)
    assert both.kind == "image" and both.ref.length == 2 * one.ref.length


async def test_speech_is_named_as_a_spoken_question_names_it(backend, spoken_question):
    parts, calls = encoder(backend), backend.releases.current
    part = await parts.encode_audio(spoken_question.tobytes(), "s", calls)
    assert part.kind == "speech" and part.ref.length == parts.held.get(part.ref).shape[0] > 10
    asked = Question(True, 16_000, MediaSettings())
    for start in range(0, len(spoken_question), 777):  # the name depends on the samples, not on the chunks
        asked.add_audio(spoken_question[start : start + 777].tobytes())
    asked.weights = part.ref.weights
    asked.embeddings.append(parts.held.get(part.ref))
    asked.name_utterance()
    assert asked.utterance == part.ref
    assert list(await backend.store.embeddings.get([part.ref])) == [part.ref]


async def test_long_speech_is_sent_in_messages_that_the_encoder_takes(backend):
    part = await encoder(backend).encode_audio(bytes(2 * 16_000 * 40), "s", backend.releases.current)
    assert part.ref.length > 100


async def test_what_the_store_does_not_keep_is_held(backend, draw, monkeypatch):
    async def refuse(ref, data):
        return False

    monkeypatch.setattr(backend.store.embeddings, "put", refuse)
    parts = encoder(backend)
    part = await parts.encode_image(draw("maroon"), "s", backend.releases.current)
    assert parts.held.get(part.ref).shape[0] == part.ref.length
    assert await backend.store.embeddings.find(part.ref.weights, part.ref.hash) is None


SECOND = bytes(32_000)
INVALID, EXHAUSTED = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize(
    ("method", "content", "code", "message"),
    [
        ("encode_image", b"", INVALID, "image is empty"),
        ("encode_image", b"no picture", INVALID, "not a picture"),
        ("encode_image", bytes(3000), EXHAUSTED, "above the limit of 2000"),
        ("encode_video", b"no video", INVALID, "as a video"),
        ("encode_video", bytes(4000), EXHAUSTED, "above the limit of 3000"),
        ("encode_frames", [], INVALID, "no frames"),
        ("encode_frames", [b""], INVALID, "frame is empty"),
        ("encode_frames", [b"x"] * 5, EXHAUSTED, "above the limit of 4"),
        ("encode_audio", b"", INVALID, "too short"),
        ("encode_audio", SECOND[:3199], INVALID, "too short"),
        ("encode_audio", SECOND[:4001], INVALID, "even number of bytes"),
        ("encode_audio", 3 * SECOND, EXHAUSTED, "limit of 2 s"),
    ],
)
async def test_what_cannot_be_encoded_is_refused_with_the_reason(backend, method, content, code, message):
    media = MediaSettings(max_audio_seconds=2, max_image_bytes=2000, max_video_bytes=3000)
    with pytest.raises(ServiceError, match=message) as caught:
        await getattr(encoder(backend, media), method)(content, "s", backend.releases.current)
    assert caught.value.code is code
