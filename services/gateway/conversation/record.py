"""What a turn reads from its session and writes to it: the lease, the history, its two items."""

from __future__ import annotations

import contextlib

import grpc

from protos.parley.v1.language_model_pb2 import Message, Sampling
from protos.parley.v1.tensor_pb2 import EmbeddingRef, Tensor
from services.gateway.conversation.history import to_messages
from services.gateway.conversation.question import Question
from services.gateway.events.items import Item, Ref, question_item_id
from services.gateway.events.session import Session
from services.gateway.media.images import Images
from services.gateway.store.protocols import Lease, Store
from services.gateway.turn.generate import Prompt
from services.gateway.upstream.calls import Calls
from services.rpc.errors import ServiceError


class TurnRecord:
    """Nothing is written to the session before the turn ends, and only under its lease."""

    def __init__(self, session: Session, turn_id: str, store: Store, calls: Calls, history_share: float):
        self.written = False
        self.lease: Lease | None = None
        self._session, self._turn_id = session, turn_id
        self._store, self._calls, self._history_share = store, calls, history_share
        self._leases = contextlib.AsyncExitStack()

    async def take_lease(self) -> None:
        """Raises ABORTED where another connection answers in this session."""
        self.lease = await self._leases.enter_async_context(self._store.leases.lease(self._session.id))

    async def release(self) -> None:
        await self._leases.aclose()

    def check_lease(self) -> None:
        """Raises ABORTED where another gateway has taken the session over."""
        if self.lease is not None and self.lease.lost.is_set():
            message = "another connection took over this session while the turn ran"
            raise ServiceError(grpc.StatusCode.ABORTED, message)

    async def prompt(self, sampling: Sampling, unwritten: list[Item]) -> Prompt:
        """The history as it was played. `unwritten`: items of a turn that is still running."""
        items = await self._store.items.list(self._session.id)
        known = {item.id for item in items}
        items += [item for item in unwritten if item.id not in known]
        context = (await self._calls.describe("llm_core")).context_length
        return Prompt(
            messages=await self._messages(items),
            sampling=sampling,
            max_history_tokens=max(1, int(self._history_share * context)),
        )

    async def _messages(self, items: list[Item]) -> list[Message]:
        weights = set()
        kinds = {part.kind for item in items for part in item.parts if part.ref is not None}
        for kind, encoder in (("image", "vision_encoder"), ("speech", "speech_encoder")):
            if kind in kinds:
                weights.add((await self._calls.describe(encoder)).weights)
        return to_messages(items, self._session.config.instructions, weights)

    async def write(self, question: Item, answer: Item | None, speech: Tensor | None) -> None:
        """Adds the turn's items to the session; `speech`: the embeddings that the question's utterance names."""
        utterance = next((part.ref for part in question.parts if part.kind == "speech"), None)
        if utterance is not None and speech is not None:
            await self._store.embeddings.put(utterance, speech.SerializeToString())
        await self._store.items.append(self.lease, [question] if answer is None else [question, answer])
        self.written = True


def question_item(turn_id: str, question: Question) -> Item:
    return Item(id=question_item_id(turn_id), role="user", turn_id=turn_id, parts=question.item_parts())


class EmbeddingResolver:
    """Finds the embeddings behind the references of a prompt: the question's own pictures, or what the store keeps."""

    def __init__(self, question: Question, session_id: str, images: Images, store: Store):
        self._question, self._session_id, self._images, self._store = question, session_id, images, store

    async def __call__(self, wanted: EmbeddingRef) -> Tensor | None:
        """None where nobody has them any more."""
        ref = Ref(weights=wanted.weights, hash=wanted.hash, length=wanted.length)
        own = next((image for image in self._question.encoded_images() if image.ref == ref), None)
        if own is not None:
            return await self._images.tensor(own, self._session_id)
        kept = (await self._store.embeddings.get([ref])).get(ref)
        return None if kept is None else Tensor.FromString(kept)
