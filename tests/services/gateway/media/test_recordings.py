"""What was spoken in an item can be had again, as long as the store keeps it."""

from __future__ import annotations

from services.gateway.media.embedding_writer import EmbeddingWriter
from services.gateway.media.recordings import MAX_BYTES, Recordings


class Embeddings(dict):
    async def put(self, ref, data: bytes) -> bool:
        self[ref] = data
        return True

    async def get(self, refs):
        return {ref: self[ref] for ref in refs if ref in self}


async def test_a_recording_is_of_its_item_and_session_only():
    store = Embeddings()
    writer = EmbeddingWriter(store)
    recordings = Recordings(store, writer)
    recordings.keep("session", "item", b"\0\1", 24_000)
    recordings.keep("session", "empty", b"", 24_000)
    recordings.keep("session", "long", bytes(MAX_BYTES + 2), 24_000)
    await writer.wait()
    kept = await recordings.get("session", "item")
    assert (kept.audio, kept.sample_rate) == (b"\0\1", 24_000)
    for session_id, item_id in (("other", "item"), ("session", "empty"), ("session", "long")):
        assert await recordings.get(session_id, item_id) is None
