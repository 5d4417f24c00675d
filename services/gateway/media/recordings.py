"""The audio of a session's items, so that a client can have it again."""

from __future__ import annotations

import hashlib

from protos.parley.v1.speech_decoder_pb2 import AudioChunk
from services.gateway.events.items import Ref
from services.gateway.media.embedding_writer import EmbeddingWriter
from services.gateway.store.protocols import Embeddings

RECORDING = "recording"  # stands in a reference where embeddings have the name of their weights
MAX_BYTES = 4 << 20  # of one item: about 87 s at 24 kHz


class Recordings:
    """They lie beside the embeddings, in the same budget: the least recently used go first."""

    def __init__(self, embeddings: Embeddings, writer: EmbeddingWriter):
        self._embeddings, self._writer = embeddings, writer

    def keep(self, session_id: str, item_id: str, pcm: bytes, sample_rate: int) -> None:
        """`pcm`: 16-bit little-endian mono at `sample_rate` Hz. What is too long is not kept."""
        if 0 < len(pcm) <= MAX_BYTES:
            self._writer.write(_ref(session_id, item_id), AudioChunk(audio=pcm, sample_rate=sample_rate))

    async def get(self, session_id: str, item_id: str) -> AudioChunk | None:
        """None where it is gone."""
        ref = _ref(session_id, item_id)
        kept = (await self._embeddings.get([ref])).get(ref)
        return None if kept is None else AudioChunk.FromString(kept)


def _ref(session_id: str, item_id: str) -> Ref:
    digest = hashlib.sha256(f"{session_id}\n{item_id}".encode())
    return Ref(weights=RECORDING, hash=digest.hexdigest(), length=0)
