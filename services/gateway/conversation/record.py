"""What a turn reads from its session and writes to it: the lease, the history, its two items."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from protos.parley.v1.language_model_pb2 import Sampling
from protos.parley.v1.tensor_pb2 import EmbeddingRef, Tensor
from services.gateway.conversation.prompt_reader import PromptReader
from services.gateway.conversation.question import Question
from services.gateway.conversation.request import TurnRequest
from services.gateway.events.items import Item, Ref, question_item_id
from services.gateway.media.embedding_writer import EmbeddingWriter
from services.gateway.media.held_embeddings import HeldEmbeddings
from services.gateway.media.images import EncodedImage, Images
from services.gateway.media.originals import Originals
from services.gateway.store.protocols import Lease, Store
from services.gateway.turn.generate import Prompt
from services.gateway.upstream.calls import Calls


class TurnRecord:
    """Nothing is written to the session before the turn ends, and only under its lease."""

    def __init__(
        self,
        session_id: str,
        turn_id: str,
        request: TurnRequest,
        store: Store,
        embeddings: EmbeddingWriter,
        originals: Originals,
        calls: Calls,
        history_share: float,
    ):
        self.written = False
        self.lease: Lease | None = None
        self.request = request
        self.session_id, self._turn_id = session_id, turn_id
        self._store, self._embeddings, self._originals = store, embeddings, originals
        self._reader = PromptReader(session_id, originals, calls, history_share)
        self._leases = contextlib.AsyncExitStack()

    def use(self, calls: Calls) -> None:
        """The turn starts again on another release."""
        self._reader.use(calls)

    async def take_lease(self, take: bool = False) -> None:
        """Raises ABORTED where another connection answers in this session; with `take`, that one loses it."""
        if self.lease is not None:
            return
        self.lease = await self._leases.enter_async_context(self._store.leases.lease(self.session_id, take))

    async def release(self) -> None:
        await self._leases.aclose()

    def check_lease(self) -> None:
        """Raises ABORTED where another gateway has taken the session over, NOT_FOUND where the store has lost it."""
        if self.lease is not None and self.lease.lost.is_set():
            raise self.lease.loss()

    async def prompt(self, sampling: Sampling, unwritten: list[Item]) -> Prompt:
        """The history as it was played. `unwritten`: items of a turn that is still running."""
        items = await self._history()
        known = {item.id for item in items}
        items = [*items, *(item for item in unwritten if item.id not in known)]
        return await self._reader.read(items, self.request.config, sampling)

    async def _history(self) -> list[Item]:
        """What the request names, or the session's items without the turn's own."""
        if self.request.items is not None:
            return list(self.request.items)
        items = await self._store.items.list(self.session_id)
        return [item for item in items if item.turn_id != self._turn_id]

    async def insert(self, item: Item) -> str:
        """Adds the question to the session while another turn may still have the lease. → id of the item before it."""
        return await self._store.items.insert(self.session_id, item)

    async def replace(self, item: Item, speech: Tensor | None = None) -> None:
        """The question's item with what was heard, unless the client has deleted it."""
        await self._store.items.replace(self.session_id, item)
        self._keep_speech(item, speech)

    async def write(self, items: Sequence[Item], speech: Tensor | None, images: Sequence[EncodedImage] = ()) -> str:
        """Adds the turn's items to the session. Returns the id of the item before them.

        `speech`: the embeddings that the question's utterance names. `images`: its pictures.
        """
        previous = await self._store.items.append(self.lease, items) if items else ""
        self.written = True
        for item in items:
            self._keep_speech(item, speech)
        for image in images:
            self._originals.keep(image)
        return previous

    def _keep_speech(self, item: Item, speech: Tensor | None) -> None:
        utterance = next((part.ref for part in item.parts if part.kind == "speech"), None)
        if utterance is not None and speech is not None:
            self._embeddings.write(utterance, speech)

    async def set_played(self, item_id: str, samples: int) -> None:
        """How far an answer that is already written has been played."""
        await self._store.items.set_played(self.session_id, item_id, samples)


def question_item(turn_id: str, question: Question) -> Item:
    return Item(id=question_item_id(turn_id), role="user", turn_id=turn_id, parts=question.item_parts())


class EmbeddingResolver:
    """Finds the embeddings behind the references of a prompt: those of this turn's own, or what the store keeps."""

    def __init__(
        self,
        question: Question,
        session_id: str,
        images: Images,
        held: HeldEmbeddings,
        store: Store,
        calls: Calls,
    ):
        self._questions, self._held = [question], held
        self.session_id, self._images, self._store, self._calls = session_id, images, store, calls

    def use(self, calls: Calls) -> None:
        """The turn starts again on another release."""
        self._calls = calls

    def include(self, question: Question) -> None:
        """A question that is part of the history although it is not written yet."""
        self._questions.append(question)

    async def __call__(self, wanted: EmbeddingRef) -> Tensor | None:
        """None where they are gone."""
        ref = Ref(weights=wanted.weights, hash=wanted.hash, length=wanted.length)
        for question in self._questions:
            if question.utterance == ref:
                return question.speech()
            for image in question.encoded_images():
                if image.ref == ref:
                    return await self._images.tensor(image, self.session_id, self._calls)
        if (tensor := self._held.get(ref)) is not None:
            return tensor
        kept = (await self._store.embeddings.get([ref])).get(ref)
        return None if kept is None else Tensor.FromString(kept)
