"""What the encoders made of pictures and speech, kept beside the sessions for as long as the same weights serve.

A kept tensor is found by what it was made of and by the weights that made it, which the encoder itself names (in its
health, see `services.rpc.health`). So all gateways before the same services find what another kept, and a change of
weights leaves nothing behind that the language model would misread.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from protos.parley.v1.tensor_pb2 import Tensor
from services.gateway.session import SessionStore
from services.gateway.upstream import Upstream

Kind = Literal["image", "speech"]

_ENCODERS = {"image": "vision", "speech": "speech"}


class Embeddings:
    def __init__(self, store: SessionStore, upstream: Upstream):
        self._store, self._upstream = store, upstream

    async def put(self, kind: Kind, content_hash: str, tensor: Tensor) -> None:
        """Raises `ServiceError` UNAVAILABLE while Redis is out of reach, as `get` does."""
        await self._store.put_embedding(await self._name(kind, content_hash), tensor.SerializeToString())

    async def get(self, wanted: Iterable[tuple[Kind, str]]) -> dict[str, bytes]:
        """(kind, content hash) each → content hash: serialized `Tensor`, of those that are still kept."""
        hashes = {await self._name(kind, content_hash): content_hash for kind, content_hash in wanted}
        found = await self._store.embeddings(hashes)
        return {hashes[name]: data for name, data in found.items()}

    async def _name(self, kind: Kind, content_hash: str) -> str:
        return f"{await self._upstream.weights(_ENCODERS[kind])}:{content_hash}"
