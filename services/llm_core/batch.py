"""One engine step as tensors: the tokens of every row that runs, packed end to end without padding.

Notable points:
- First the rows that write their answer, one token each; then pieces of prompts, one chunk a row.
- Linear layers see one sequence of N tokens; only attention looks at rows, through the windows below.
- Answering rows lie in slots 0, 1, 2 … of the KV cache, so their window is a slice of it and nothing is copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Chunk:
    """`count` prompt tokens of the row in `slot`, at positions `start` and on."""

    slot: int
    start: int
    count: int

    @property
    def end(self) -> int:
        return self.start + self.count


@dataclass(frozen=True)
class Batch:
    """`num_answering` tokens at `positions` 0 … of their own rows, then the chunks' tokens, N in all."""

    num_answering: int
    chunks: tuple[Chunk, ...]
    positions: torch.Tensor  # [1, N]
    slots: torch.Tensor  # [N]
    answering_length: int  # longest row among the answering ones, this token included
    answering_mask: torch.Tensor | None  # [num_answering, 1, 1, answering_length], added to scores; None: all full
    chunk_masks: tuple[torch.Tensor | None, ...]  # [groups × count, end] each, added to scores; None: all is seen

    def __len__(self) -> int:
        return self.positions.shape[1]


def build_batch(
    answering: Sequence[int], chunks: Sequence[Chunk], groups: int, device: torch.device, dtype: torch.dtype
) -> Batch:
    """`answering`: the position of the token that each of the slots 0, 1, … adds. `groups`: query heads a KV head."""
    positions = list(answering)
    slots = list(range(len(answering)))
    for chunk in chunks:
        positions.extend(range(chunk.start, chunk.end))
        slots.extend([chunk.slot] * chunk.count)
    longest = max(answering, default=-1) + 1
    return Batch(
        num_answering=len(answering),
        chunks=tuple(chunks),
        positions=torch.tensor([positions], device=device),
        slots=torch.tensor(slots, device=device),
        answering_length=longest,
        answering_mask=_answering_mask(answering, longest, device, dtype),
        chunk_masks=tuple(_chunk_mask(chunk, groups, device, dtype) for chunk in chunks),
    )


def _answering_mask(answering, longest, device, dtype) -> torch.Tensor | None:
    if all(position + 1 == longest for position in answering):
        return None
    hidden = torch.arange(longest, device=device) > torch.tensor(answering, device=device)[:, None]
    return torch.zeros(hidden.shape, device=device, dtype=dtype).masked_fill_(hidden, float("-inf"))[:, None, None]


def _chunk_mask(chunk: Chunk, groups: int, device, dtype) -> torch.Tensor | None:
    if chunk.count == 1:
        return None
    mask = torch.full((chunk.count, chunk.end), float("-inf"), device=device, dtype=dtype).triu_(chunk.start + 1)
    return mask.repeat(groups, 1)
