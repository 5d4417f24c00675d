"""One engine step as tensors: the tokens of every sequence that runs, packed end to end without padding.

Notable points:
- First the sequences that are decoding, one token each; then prompts, one chunk a sequence.
- Linear layers see one sequence of N tokens; only attention separates sequences, by their slots of the KV cache.
- Decoding sequences are in slots 0, 1, 2 …, so their keys and values are a slice of the cache and nothing is copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Chunk:
    """`count` prompt tokens of the sequence in `slot`, at positions `start` and on."""

    slot: int
    start: int
    count: int

    @property
    def end(self) -> int:
        return self.start + self.count


@dataclass(frozen=True)
class Batch:
    """`num_decoding` tokens, one a sequence, then the chunks' tokens, N in all."""

    num_decoding: int
    chunks: tuple[Chunk, ...]
    positions: torch.Tensor  # [1, N]
    slots: torch.Tensor  # [N]
    decoding_length: int  # of the longest decoding sequence, this token included
    decoding_mask: (
        torch.Tensor | None
    )  # [num_decoding, 1, 1, decoding_length], added to scores; None: nothing is hidden

    def __len__(self) -> int:
        return self.positions.shape[1]


def build_batch(decoding: Sequence[int], chunks: Sequence[Chunk], device: torch.device, dtype: torch.dtype) -> Batch:
    """`decoding`: the position of the token that each of the slots 0, 1, … adds."""
    positions = list(decoding)
    slots = list(range(len(decoding)))
    for chunk in chunks:
        positions.extend(range(chunk.start, chunk.end))
        slots.extend([chunk.slot] * chunk.count)
    longest = max(decoding, default=-1) + 1
    return Batch(
        num_decoding=len(decoding),
        chunks=tuple(chunks),
        positions=torch.tensor([positions], device=device),
        slots=torch.tensor(slots, device=device),
        decoding_length=longest,
        decoding_mask=_decoding_mask(decoding, longest, device, dtype),
    )


def _decoding_mask(decoding, longest, device, dtype) -> torch.Tensor | None:
    if all(position + 1 == longest for position in decoding):
        return None
    hidden = torch.arange(longest, device=device) > torch.tensor(decoding, device=device)[:, None]
    return torch.zeros(hidden.shape, device=device, dtype=dtype).masked_fill_(hidden, float("-inf"))[:, None, None]
