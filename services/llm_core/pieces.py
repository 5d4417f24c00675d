"""What a prompt consists of: pieces that can be computed, and placeholders for embeddings that are not here yet."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Piece:
    """Positions of a prompt: token ids, or embeddings [length, width] with their keys.

    A key says what stands at a position, so that two prompts which begin with the same keys share their KV cache that
    far. A token is its own key; the key of an embedding is negative, see `position_keys`.
    """

    keys: list[int]
    embeddings: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True)
class EmbeddingRef:
    """Names embeddings by the weights that made them and the content that they were made of."""

    weights: str
    hash: str
    length: int  # number of embeddings


@dataclass(frozen=True)
class Placeholder:
    """The place of embeddings in a prompt. `fallback`: token ids that are read where nobody has the embeddings."""

    ref: EmbeddingRef
    before: tuple[Piece, ...]  # read before the embeddings, and only with them
    fallback: list[int]

    def __len__(self) -> int:
        return sum(map(len, self.before)) + self.ref.length

    def filled(self, piece: Piece) -> list[Piece]:
        return [*self.before, piece]

    def replaced(self) -> list[Piece]:
        return [Piece(self.fallback)] if self.fallback else []
