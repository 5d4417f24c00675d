"""Keeps embeddings in the store beside the turn that made them, which does not wait for it."""

from __future__ import annotations

import asyncio

from google.protobuf.message import Message

from services.gateway.events.items import Ref
from services.gateway.store.protocols import Embeddings
from services.telemetry import logs

log = logs.get_logger(__name__)

MAX_WRITES = 8  # at once; what comes beyond is not kept


class EmbeddingWriter:
    """Of one connection."""

    def __init__(self, embeddings: Embeddings):
        self._embeddings = embeddings
        self._writing: set[asyncio.Task] = set()

    def write(self, ref: Ref, data: Message) -> None:
        """`data`: a tensor, or the file that embeddings are made of."""
        if len(self._writing) >= MAX_WRITES:
            log.warning("embeddings not kept: the store is too slow", length=ref.length)
            return
        writing = asyncio.create_task(self._embeddings.put(ref, data.SerializeToString()))
        self._writing.add(writing)
        writing.add_done_callback(self._writing.discard)

    async def wait(self) -> None:
        """Returns when all that was given is written, or could not be."""
        if self._writing:
            await asyncio.wait(self._writing)
