"""One request's prompt as it arrives: its parts in order, references filled as soon as their embeddings are here.

Notable points:
- Whatever stands behind embeddings that are missing waits for them; everything before them is computed meanwhile.
- Embeddings are asked for once, however often the prompt refers to them.
- What is large is converted, checked and hashed in a thread, because a picture takes tens of milliseconds.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import TypeVar

import torch

from protos.parley.v1 import language_model_pb2 as pb
from protos.parley.v1 import tensor_pb2
from services.llm_core.encoder_cache import EncoderCache, check_length
from services.llm_core.pieces import EmbeddingRef, Piece, Placeholder
from services.llm_core.prompts import PromptReader, read_ref
from services.llm_core.requests import GenerationRequest, Missing
from services.llm_core.text_limit import TextLimit

LARGE_BYTES = 1 << 17  # about 0.3 ms of work; less is not worth a change of threads
TEXT_COST = 200  # tokenizing a byte of text takes as long as converting this many bytes of embeddings

T = TypeVar("T")


async def in_thread_if_large(size: int, function: Callable[..., T], *arguments: object) -> T:
    """The result of a function. `size`: bytes of embeddings that it converts; bytes of text count `TEXT_COST` times."""
    return await asyncio.to_thread(function, *arguments) if size > LARGE_BYTES else function(*arguments)


class PromptStream:
    """Gives `request` its prompt. Every method raises `ValueError` or `ServiceError` for what is wrong with it."""

    def __init__(self, request: GenerationRequest, reader: PromptReader, cache: EncoderCache, limit: TextLimit):
        self._request = request
        self._reader = reader
        self._cache = cache
        self._limit = limit
        self._items: deque[Piece | Placeholder] = deque()  # not yet given to the request; the first is missing
        self._asked: set[EmbeddingRef] = set()  # and not answered
        self._absent: set[EmbeddingRef] = set()  # the client has no embeddings of these
        self._speech: list[Piece] = []  # of the user's new message
        self._after = ""  # what the part before was
        self._responded_at: float | None = None  # on the monotonic clock
        self._only_state = False  # is asked for

    @property
    def complete(self) -> bool:
        """The request has its whole prompt."""
        return self._responded_at is not None and not self._items

    async def receive(self, kind: str, message: object) -> None:
        """A message of the stream by the name of its field."""
        if kind == "embeddings":
            return await self._receive_embeddings(message)
        if self._responded_at is not None:
            raise ValueError(f"`{kind}` came after `respond`; only `embeddings` may follow it")
        if kind == "part":
            await self._receive_part(message)
        else:
            self._respond(message)

    def append(self, items: list[Piece | Placeholder]) -> None:
        """The next of the prompt. Asks the client for the embeddings that are missing."""
        resolved = [part for item in items for part in self._resolve(item)]
        refs = {item.ref: None for item in resolved if isinstance(item, Placeholder)}  # in their order
        missing = tuple(ref for ref in refs if ref not in self._asked)
        self._asked.update(missing)
        self._items.extend(resolved)
        self._advance()
        if missing:
            self._request.deliver(Missing(missing))

    def _resolve(self, item: Piece | Placeholder) -> list[Piece | Placeholder]:
        if isinstance(item, Piece):
            return [item]
        if item.ref in self._absent:
            return item.replaced()
        piece = self._cache.get(item.ref)
        return [item] if piece is None else item.filled(piece)

    def _advance(self) -> None:
        """Gives the request all that stands before the first missing embeddings."""
        ready = []
        while self._items and isinstance(self._items[0], Piece):
            ready.append(self._items.popleft())
        if self.complete:
            self._request.respond(ready, self._responded_at, self._only_state)
            return
        self._request.append(ready)
        self._request.check(sum(map(len, self._items)))

    async def _receive_part(self, part: pb.Part) -> None:
        kind = part.WhichOneof("part")
        is_speech = kind == "speech"
        size = part.ByteSize()  # of embeddings, of text, or of a reference with a text as fallback
        if not is_speech:
            self._limit.add(size)
        cost = size if is_speech else TEXT_COST * size
        items = await in_thread_if_large(cost, self._reader.part, part, self._after)
        if is_speech:
            self._speech += items[-1:]
        if items:
            self._after = kind
        self.append(items)

    def _respond(self, respond: pb.GenerateRespond) -> None:
        if respond.HasField("utterance"):
            self._keep_utterance(read_ref(respond.utterance))
        self._responded_at, self._only_state = time.monotonic(), respond.only_state
        self.append(self._reader.closing())

    def _keep_utterance(self, ref: EmbeddingRef) -> None:
        """The speech of this message stays in the cache for later messages."""
        if not self._speech:
            raise ValueError("`respond` names an utterance, but the message has no speech")
        embeddings = torch.cat([piece.embeddings for piece in self._speech])
        check_length(ref, len(embeddings))
        self._cache.put(ref, Piece([key for piece in self._speech for key in piece.keys], embeddings))

    async def _receive_embeddings(self, message: tensor_pb2.Embeddings) -> None:
        ref, piece = read_ref(message.ref), None
        if message.HasField("tensor"):
            piece = await in_thread_if_large(message.ByteSize(), self._reader.embeddings, message.tensor)
            check_length(ref, len(piece))
            self._cache.put(ref, piece)
        elif ref in self._asked:
            self._absent.add(ref)
        if ref in self._asked:
            self._asked.remove(ref)
            self._fill(ref, piece)

    def _fill(self, ref: EmbeddingRef, piece: Piece | None) -> None:
        """Puts embeddings, or the fallback where there are none, in the places of a reference."""
        items, self._items = self._items, deque()
        for item in items:
            if isinstance(item, Piece) or item.ref != ref:
                self._items.append(item)
            else:
                self._items.extend(item.replaced() if piece is None else item.filled(piece))
        self._advance()
