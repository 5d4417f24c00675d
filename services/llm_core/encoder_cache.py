"""Embeddings of earlier pictures and utterances by reference, so that they are sent, checked and hashed once."""

from __future__ import annotations

from collections import OrderedDict

from services.llm_core.pieces import EmbeddingRef, Piece


class EncoderCache:
    """(weights, hash) → a piece, the least recently used dropped first. Used on the service's event loop only.

    A prompt holds its pieces itself, so dropping one from the cache does not affect a running request.
    """

    def __init__(self, max_bytes: int):
        self.max_bytes = max_bytes
        self.bytes = 0
        self._pieces: OrderedDict[tuple[str, str], Piece] = OrderedDict()

    def __len__(self) -> int:
        return len(self._pieces)

    def get(self, ref: EmbeddingRef) -> Piece | None:
        """Raises `ValueError` where the reference states another length than the embeddings have."""
        key = (ref.weights, ref.hash)
        piece = self._pieces.get(key)
        if piece is None:
            return None
        check_length(ref, len(piece))
        self._pieces.move_to_end(key)
        return piece

    def put(self, ref: EmbeddingRef, piece: Piece) -> None:
        """Embeddings larger than the whole cache are not kept."""
        self._drop(ref.weights, ref.hash)
        if piece.embeddings.nbytes > self.max_bytes:
            return
        self._pieces[ref.weights, ref.hash] = piece
        self.bytes += piece.embeddings.nbytes
        while self.bytes > self.max_bytes:
            self._drop(*next(iter(self._pieces)))

    def _drop(self, weights: str, content: str) -> None:
        dropped = self._pieces.pop((weights, content), None)
        if dropped is not None:
            self.bytes -= dropped.embeddings.nbytes


def check_length(ref: EmbeddingRef, length: int) -> None:
    """Raises `ValueError` where a reference states another length than its embeddings have."""
    if ref.length != length:
        raise ValueError(f"the reference {ref.hash} states {ref.length} embeddings, but there are {length}")
