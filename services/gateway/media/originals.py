"""The files of a session's pictures, so that a release with other weights can read its history too."""

from __future__ import annotations

import asyncio
import contextlib

from protos.parley.v1.vision_encoder_pb2 import EncodeVisionRequest
from services.gateway.events.items import Ref
from services.gateway.media.embedding_writer import EmbeddingWriter
from services.gateway.media.images import EncodedImage, request_of
from services.gateway.store.protocols import Embeddings
from services.gateway.upstream.calls import Calls
from services.rpc import streams
from services.rpc.errors import ServiceError

MAX_BYTES = 4 << 20  # of the files of one picture; longer videos are not kept
ENCODE_SECONDS = 10.0  # that an encoder may take for a picture of the history
ORIGINAL = "original"  # stands in a reference where embeddings have the name of their weights


class Originals:
    """They lie beside the embeddings, in the same budget: the least recently used go first."""

    def __init__(self, embeddings: Embeddings, writer: EmbeddingWriter):
        self._embeddings, self._writer = embeddings, writer

    def keep(self, image: EncodedImage) -> None:
        request = request_of(image.kind, image.files)
        if request.ByteSize() <= MAX_BYTES:
            self._writer.write(_original(image.ref), request)

    async def renew(self, ref: Ref, session_id: str, calls: Calls) -> Ref | None:
        """The same picture's embeddings by the weights of `calls`, kept in the store; None where they cannot be had."""
        with contextlib.suppress(ServiceError, TimeoutError):
            async with asyncio.timeout(ENCODE_SECONDS):
                weights = (await calls.describe("vision_encoder")).weights
                return await self._embeddings.find(weights, ref.hash) or await self._encode(ref, session_id, calls)
        return None

    async def _encode(self, ref: Ref, session_id: str, calls: Calls) -> Ref | None:
        kept = (await self._embeddings.get([_original(ref)])).get(_original(ref))
        if kept is None:
            return None
        request = EncodeVisionRequest.FromString(kept)
        request.session_id, request.deadline_ms = session_id, streams.deadline_in(ENCODE_SECONDS)
        answer = await calls.encode_images(request, ENCODE_SECONDS)
        renewed = Ref(weights=answer.weights, hash=ref.hash, length=answer.embeddings.shape[0])
        return renewed if await self._embeddings.put(renewed, answer.embeddings.SerializeToString()) else None


def _original(ref: Ref) -> Ref:
    return Ref(weights=ORIGINAL, hash=ref.hash, length=0)
