"""What a turn reads from its session and writes to it."""

from __future__ import annotations

import asyncio
import contextlib
from types import SimpleNamespace

import grpc
import pytest

from protos.parley.v1.language_model_pb2 import Message, Sampling
from protos.parley.v1.model_info_pb2 import ModelInfo
from protos.parley.v1.tensor_pb2 import Tensor
from services.gateway.conversation.question import Question, to_wire
from services.gateway.conversation.record import EmbeddingResolver, TurnRecord, question_item
from services.gateway.conversation.request import TurnRequest
from services.gateway.events.items import Item, ItemPart, Ref
from services.gateway.events.session import SessionConfig
from services.gateway.media.held_embeddings import HeldEmbeddings
from services.gateway.media.images import EncodedImage
from services.gateway.settings import MediaSettings
from services.gateway.store.protocols import Lease
from services.rpc.errors import ServiceError

TENSOR = Tensor(dtype="float32", shape=[1, 1], data=b"\1\2\3\4")
SPEECH, PICTURE = (Ref(weights=name, hash=name, length=1) for name in ("ears", "eyes"))


class Items:
    def __init__(self, *items: Item):
        self.items, self.played = list(items), {}

    async def list(self, session_id: str) -> list[Item]:
        return list(self.items)

    async def append(self, lease: Lease, items: list[Item]) -> str:
        previous = self.items[-1].id if self.items else ""
        self.items += items
        return previous

    async def set_played(self, session_id: str, item_id: str, samples: int) -> None:
        self.played[item_id] = samples


class Leases:
    def __init__(self) -> None:
        self.held: list[Lease] = []

    @contextlib.asynccontextmanager
    async def lease(self, session_id: str, take: bool = False):
        self.held.append(Lease(session_id, "token", asyncio.Event()))
        yield self.held[-1]
        self.held.pop()


class Calls:
    """Encoders that run their own name as weights; those in `away` are out of reach."""

    def __init__(self) -> None:
        self.asked, self.away = [], ()

    async def describe(self, service: str) -> ModelInfo:
        self.asked.append(service)
        if service in self.away:
            raise ServiceError(grpc.StatusCode.UNAVAILABLE, "away")
        names = {"speech_encoder": "ears", "vision_encoder": "eyes", "llm_core": "brain"}
        return ModelInfo(weights=names[service], context_length=1001)


def message(name: str, *parts: ItemPart, role: str = "user") -> Item:
    return Item(id=name, role=role, parts=list(parts))


def text(value: str) -> ItemPart:
    return ItemPart(kind="text", text=value)


HEARD = ItemPart(kind="speech", text="what is it", ref=SPEECH)
SEEN = ItemPart(kind="image", ref=PICTURE)


class Originals:
    """Pictures whose files are kept: those named in `kept`."""

    def __init__(self, *kept: str):
        self.kept_files, self.kept = list(kept), []

    def keep(self, image: EncodedImage) -> None:
        self.kept.append(image)

    async def renew(self, ref: Ref, session_id: str, calls: Calls) -> Ref | None:
        return ref.model_copy(update={"weights": "eyes"}) if ref.hash in self.kept_files else None


def record_of(calls: Calls, *items: Item, embeddings=None, originals=None) -> TurnRecord:
    store = SimpleNamespace(items=Items(*items), leases=Leases())
    request = TurnRequest(SessionConfig(instructions="be brief"))
    record = TurnRecord("s", "turn", request, store, embeddings, originals or Originals(), calls, history_share=0.5)
    record.store = store
    return record


async def test_the_prompt_is_the_history_and_what_is_not_written_yet():
    calls = Calls()
    record = record_of(calls, message("a", text("one")))
    prompt = await record.prompt(Sampling(seed=3), [message("a", text("one")), message("b", text("two"))])
    assert [part.text for message in prompt.messages for part in message.parts] == ["be brief"]
    assert [part.text for part in prompt.opening] == ["one", "two"]  # a user's last words begin the new message
    assert prompt.messages[0].role == Message.ROLE_SYSTEM
    assert (prompt.max_history_tokens, prompt.sampling.seed) == (500, 3)
    assert calls.asked == ["llm_core"]  # no encoder has made anything of this history


@pytest.mark.parametrize("away", [(), ("vision_encoder",)])
async def test_media_of_an_encoder_that_is_out_of_reach_are_left_out(away):
    calls = Calls()
    calls.away = away
    prompt = await record_of(calls, message("a", SEEN, HEARD)).prompt(Sampling(), [])
    parts = prompt.opening
    assert [part.WhichOneof("part") for part in parts] == ["utterance"] if away else ["image", "utterance"]
    assert parts[-1].utterance == to_wire(SPEECH) and parts[-1].fallback == "what is it"
    assert set(calls.asked) == {"llm_core", "vision_encoder", "speech_encoder"}


async def test_pictures_that_other_weights_encoded_are_named_anew_or_left_out():
    old = [ItemPart(kind="image", ref=Ref(weights="before", hash=name, length=1)) for name in ("kept", "gone")]
    record = record_of(Calls(), message("a", *old, text("look"), SEEN), originals=Originals("kept"))
    asked = (await record.prompt(Sampling(), [])).opening
    images = [(part.image.weights, part.image.hash) for part in asked if part.HasField("image")]
    assert images == [("eyes", "kept"), ("eyes", "eyes")] and asked[-1].text == "look"


async def test_a_lease_is_held_until_it_is_released_and_a_lost_one_is_noticed():
    record = record_of(Calls())
    record.check_lease()
    await record.release()
    await record.take_lease()
    assert record.store.leases.held == [record.lease]
    record.check_lease()
    record.lease.lost.set()
    with pytest.raises(ServiceError, match="took over this session") as caught:
        record.check_lease()
    assert caught.value.code == grpc.StatusCode.ABORTED
    await record.release()
    assert record.store.leases.held == []


@pytest.mark.parametrize("answered", [True, False])
async def test_a_turn_writes_its_items_and_the_embeddings_that_they_name(answered):
    kept = []
    writer = SimpleNamespace(write=lambda ref, tensor: kept.append((ref, tensor)))
    originals, image = Originals(), EncodedImage(PICTURE, "image", [b"file"], 0.1)
    record = record_of(Calls(), message("before"), embeddings=writer, originals=originals)
    question, answer = message("q", SEEN, HEARD), message("a", text("red"), role="assistant")
    assert not record.written
    assert (
        await record.write([question, answer] if answered else [question], TENSOR, [image]) == "before"
        and record.written
    )
    assert [item.id for item in record.store.items.items] == ["before", "q", "a"][: 3 if answered else 2]
    assert kept == [(SPEECH, TENSOR)] and originals.kept == [image]
    await record.set_played("a", 9)
    assert record.store.items.played == {"a": 9}


async def test_a_written_question_has_no_embeddings_of_its_own():
    record = record_of(Calls())
    assert await record.write([message("q", text("hello"))], None) == ""


class Images:
    async def tensor(self, image: EncodedImage, session_id: str, calls) -> Tensor:
        return image.tensor


class Embeddings:
    def __init__(self, **kept: bytes):
        self.kept = kept

    async def get(self, refs) -> dict[Ref, bytes]:
        return {ref: self.kept[ref.hash] for ref in refs if ref.hash in self.kept}


def asked(utterance: Ref | None = None) -> Question:
    question = Question(True, 16_000, MediaSettings())
    question.utterance = utterance
    question.embeddings.append(TENSOR)
    return question


async def test_references_are_found_in_the_questions_at_hand_and_then_in_the_store():
    other = Ref(weights="ears", hash="other", length=1)
    own, before = asked(SPEECH), asked(other)
    picture = Tensor(dtype="float32", shape=[1, 1], data=b"pict")
    own.images.append(asyncio.ensure_future(asyncio.sleep(0, EncodedImage(PICTURE, "image", [b""], 0.1, picture))))
    await own.images[0]
    stored = Tensor(dtype="float32", shape=[1, 1], data=b"kept")
    store = SimpleNamespace(embeddings=Embeddings(old=stored.SerializeToString()))
    resolve = EmbeddingResolver(own, "s", Images(), HeldEmbeddings(), store, calls=None)
    assert await resolve(to_wire(SPEECH)) == TENSOR
    assert await resolve(to_wire(PICTURE)) == picture
    assert await resolve(to_wire(Ref(weights="ears", hash="old", length=1))) == stored
    assert await resolve(to_wire(other)) is None
    resolve.include(before)
    assert await resolve(to_wire(other)) == TENSOR


def test_the_item_of_a_question():
    question = asked(SPEECH)
    question.transcript = "what is it"
    assert question_item("t", question) == Item(id="item_t_q", role="user", turn_id="t", parts=[HEARD])
