"""What a turn reads from its session and writes to it: the lease, the history, its two items."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence

import grpc

from protos.parley.v1.language_model_pb2 import Sampling
from protos.parley.v1.tensor_pb2 import EmbeddingRef, Tensor
from services.gateway.conversation.history import to_messages
from services.gateway.conversation.question import Question
from services.gateway.events.items import Item, Ref, question_item_id
from services.gateway.events.session import Session
from services.gateway.media.embedding_writer import EmbeddingWriter
from services.gateway.media.images import EncodedImage, Images
from services.gateway.media.originals import Originals
from services.gateway.store.protocols import Lease, Store
from services.gateway.turn.generate import Prompt
from services.gateway.upstream.calls import Calls
from services.rpc.errors import ServiceError

MAX_RENEWED = 8  # pictures of the history that a turn has encoded again
WEIGHTS_SECONDS = 2.0  # that an encoder has to say what it runs
ENCODERS = {"image": "vision_encoder", "speech": "speech_encoder"}  # kind of a part → service


class TurnRecord:
    """Nothing is written to the session before the turn ends, and only under its lease."""

    def __init__(
        self,
        session: Session,
        store: Store,
        embeddings: EmbeddingWriter,
        originals: Originals,
        calls: Calls,
        history_share: float,
    ):
        self.written = False
        self.lease: Lease | None = None
        self._session = session
        self._store, self._embeddings, self._originals = store, embeddings, originals
        self._calls, self._history_share = calls, history_share
        self._leases = contextlib.AsyncExitStack()

    def use(self, calls: Calls) -> None:
        """The turn starts again on another release."""
        self._calls = calls

    async def take_lease(self) -> None:
        """Raises ABORTED where another connection answers in this session."""
        if self.lease is not None:
            return
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
        items, model = await asyncio.gather(self._store.items.list(self._session.id), self._calls.describe("llm_core"))
        known = {item.id for item in items}
        items = [*items, *(item for item in unwritten if item.id not in known)]
        weights = await self._weights(items)
        if "image" in weights:
            items = await self._renewed(items, weights["image"])
        return Prompt(
            messages=to_messages(items, self._session.config.instructions, set(weights.values())),
            sampling=sampling,
            max_history_tokens=max(1, int(self._history_share * model.context_length)),
        )

    async def _weights(self, items: list[Item]) -> dict[str, str]:
        """Kind of the items' media → name of the weights that its encoder runs now, where it can be reached."""
        kinds = {part.kind for item in items for part in item.parts if part.ref is not None}
        encoders = {kind: encoder for kind, encoder in ENCODERS.items() if kind in kinds}
        asked = await asyncio.gather(*map(self._weights_of, encoders.values()))
        return {kind: weights for kind, weights in zip(encoders, asked, strict=True) if weights}

    async def _weights_of(self, encoder: str) -> str:
        """Empty where the encoder has been out of reach since this gateway started: its media are left out."""
        try:
            async with asyncio.timeout(WEIGHTS_SECONDS):
                return (await self._calls.describe(encoder)).weights
        except (ServiceError, TimeoutError):
            return ""

    async def _renewed(self, items: list[Item], weights: str) -> list[Item]:
        """The newest pictures that other weights have encoded are encoded again, as far as their files are kept."""
        pictures = [part.ref for item in items for part in item.parts if part.kind == "image" and part.ref is not None]
        others = list(dict.fromkeys(ref for ref in reversed(pictures) if ref.weights != weights))[:MAX_RENEWED]
        found = await asyncio.gather(*(self._originals.renew(ref, self._session.id, self._calls) for ref in others))
        renewed = dict(zip(others, found, strict=True))
        return [_with_references(item, renewed) for item in items] if renewed else items

    async def write(
        self, question: Item, answer: Item | None, speech: Tensor | None, images: Sequence[EncodedImage] = ()
    ) -> str:
        """Adds the turn's items to the session. Returns the id of the item before them.

        `speech`: the embeddings that the question's utterance names. `images`: its pictures.
        """
        previous = await self._store.items.append(self.lease, [question] if answer is None else [question, answer])
        self.written = True
        utterance = next((part.ref for part in question.parts if part.kind == "speech"), None)
        if utterance is not None and speech is not None:
            self._embeddings.write(utterance, speech)
        for image in images:
            self._originals.keep(image)
        return previous

    async def set_played(self, item_id: str, samples: int) -> None:
        """How far an answer that is already written has been played."""
        await self._store.items.set_played(self._session.id, item_id, samples)


def _with_references(item: Item, renewed: Mapping[Ref, Ref | None]) -> Item:
    """With other references in place of those in `renewed`."""
    parts = [part.model_copy(update={"ref": renewed.get(part.ref) or part.ref}) for part in item.parts]
    return item.model_copy(update={"parts": parts})


def question_item(turn_id: str, question: Question) -> Item:
    return Item(id=question_item_id(turn_id), role="user", turn_id=turn_id, parts=question.item_parts())


class EmbeddingResolver:
    """Finds the embeddings behind the references of a prompt: those of this turn's own, or what the store keeps."""

    def __init__(self, question: Question, session_id: str, images: Images, store: Store, calls: Calls):
        self._questions = [question]
        self._session_id, self._images, self._store, self._calls = session_id, images, store, calls

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
                    return await self._images.tensor(image, self._session_id, self._calls)
        kept = (await self._store.embeddings.get([ref])).get(ref)
        return None if kept is None else Tensor.FromString(kept)
