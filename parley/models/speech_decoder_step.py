"""Generation with the speech decoder: sequences of different ages, one codec token for each of them a step.

Notable points:
- `DecoderPrefill` and `DecoderStep` are functions of tensors alone, so they can be compiled (`parley.export.graph`).
- `DecoderSlots` keeps the keys and values of sequences in slots and runs the two networks, or compiled forms of them.
  Sequences are added and removed between any two steps.
- A step attends to the past where it lies and to its own token beside it: nothing of the past is copied.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from parley.models.speech_decoder import SpeechDecoder, Text

BLOCK = 64  # positions: the memory of slots is a multiple of it, so that few shapes occur


class DecoderPrefill(nn.Module):
    """The text of new sequences → keys and values of the AR layers."""

    def __init__(self, decoder: SpeechDecoder):
        super().__init__()
        self.decoder = decoder

    def forward(self, embeddings: Tensor, lengths: Tensor, ids: Tensor) -> Tensor:
        """The fields of a `Text` → [2 × layers, b, heads, 1 + n × cuts, head_dim]: keys, values of layer after layer.

        Positions of padding hold undefined values.
        """
        x, positions, lengths = self.decoder.prefix(embeddings, lengths, ids)
        cos_sin = self.decoder.cos_sin(positions)
        mask = (torch.arange(x.shape[1], device=x.device) < lengths.unsqueeze(1))[:, None, None]
        kept = []
        for layer in self.decoder.ar:
            q, k, v = layer.heads(x, cos_sin)
            kept += [k, v]
            x = layer.finish(x, F.scaled_dot_product_attention(q, k, v, mask))
        return torch.stack(kept)


class DecoderStep(nn.Module):
    """The next codec token of each sequence."""

    def __init__(self, decoder: SpeechDecoder):
        super().__init__()
        self.decoder = decoder

    def forward(self, tokens: Tensor, positions: Tensor, lengths: Tensor, *past: Tensor) -> tuple[Tensor, Tensor]:
        """Reads one token of each sequence.

        Args:
            tokens: int64 [b], sos first.
            positions: float32 [b], on the axis of the rotary angles.
            lengths: int64 [b], positions of the past that hold a sequence.
            past: keys, values of layer after layer, each [b, heads, n, head_dim].

        Returns:
            Logits [b, num_codes + 4], and the new keys and values [b, 2 × layers, heads, head_dim].
        """
        cos_sin = self.decoder.cos_sin(positions.unsqueeze(1))
        x = self.decoder.embedding(tokens).unsqueeze(1)
        unused = (torch.arange(past[0].shape[2], device=x.device) >= lengths.unsqueeze(1))[:, None, None]
        hide = torch.zeros_like(unused, dtype=x.dtype).masked_fill(unused, -torch.inf)
        kept = []
        for layer, keys, values in zip(self.decoder.ar, past[::2], past[1::2], strict=True):
            q, k, v = layer.heads(x, cos_sin)
            kept += [k, v]
            x = layer.finish(x, _attend(q, k, v, keys, values, hide))
        return self.decoder.head(self.decoder.norm(x.squeeze(1))), torch.stack(kept, 1).squeeze(3)


def _attend(q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor, hide: Tensor) -> Tensor:
    """Attention of one query over the past (+ `hide` [b, 1, 1, n]) and over its own key and value."""
    q = q * q.shape[-1] ** -0.5
    own = (q * k).sum(-1, keepdim=True)
    shares = torch.cat((q @ keys.transpose(2, 3) + hide, own), -1).softmax(-1)
    return shares[..., :-1] @ values + shares[..., -1:] * v


class DecoderSlots:
    """Up to `count` sequences of up to `capacity` positions each.

    Slots 0 … size-1 are in use; the last sequence moves into a slot that is freed, so that a step reads one block.

    Args:
        prefill, step: compiled forms of `DecoderPrefill` and `DecoderStep`; None: the networks themselves.
    """

    def __init__(
        self,
        decoder: SpeechDecoder,
        count: int,
        capacity: int,
        prefill: Callable[..., Tensor] | None = None,
        step: Callable[..., tuple[Tensor, Tensor]] | None = None,
    ):
        config, weight = decoder.config, decoder.head.weight
        self._prefill, self._step = prefill or DecoderPrefill(decoder), step or DecoderStep(decoder)
        self._cuts, self._counts_text = decoder.cuts, config.position == "plain"
        head_size = config.hidden_size // config.num_heads
        self.past = weight.new_zeros(2 * config.ar_layers, count, config.num_heads, BLOCK, head_size)
        self.lengths = torch.zeros(count, dtype=torch.long, device=weight.device)  # positions held
        self.frames = torch.zeros(count, dtype=torch.long, device=weight.device)  # codec tokens read, sos included
        self.count, self.capacity, self.size = count, capacity, 0

    @property
    def slot_bytes(self) -> int:
        """Memory of one slot, now."""
        return self.past[:, 0].numel() * self.past.element_size()

    @torch.inference_mode()
    def prefill(self, text: Text) -> list[int]:
        """Adds new sequences by reading their text. Returns their slots. Raises `ValueError` if they do not fit."""
        b, n = text.ids.shape
        length = 1 + n * self._cuts
        if self.size + b > self.count:
            raise ValueError(f"{b} sequences do not fit: {self.size} of {self.count} slots are in use")
        if length >= self.capacity:
            raise ValueError(
                f"a text of {length - 1} vectors leaves no position for speech in slots of {self.capacity} positions"
            )
        slots = slice(self.size, self.size + b)
        self._resize(max(length, self.past.shape[3]))
        self.past[:, slots, :, :length] = self._prefill(text.embeddings, text.lengths, text.ids)
        self.lengths[slots], self.frames[slots] = text.lengths * self._cuts + 1, 0
        self.size += b
        return list(range(slots.start, slots.stop))

    @torch.inference_mode()
    def step(self, tokens: Tensor) -> Tensor:
        """One codec token for every sequence: tokens [size] (sos first) → logits [size, num_codes + 4]."""
        lengths, frames = self.lengths[: self.size], self.frames[: self.size]
        needed = int(lengths.max()) + 1
        assert needed <= self.capacity, "the caller ends a sequence before its slot is full"
        self._resize(needed)
        positions = (lengths if self._counts_text else frames).float()
        logits, new = self._step(tokens, positions, lengths, *self.past[:, : self.size])
        self.past[:, torch.arange(self.size, device=tokens.device), :, lengths] = new
        lengths += 1
        frames += 1
        return logits

    def free(self, slot: int) -> int:
        """Frees a slot. Returns the slot of the sequence that moved into it: the last one."""
        assert 0 <= slot < self.size
        last = self.size - 1
        if slot != last:
            self.past[:, slot] = self.past[:, last]
            self.lengths[slot], self.frames[slot] = self.lengths[last], self.frames[last]
        self.size = last
        return last

    def _resize(self, length: int) -> None:
        """Makes slots as long as sequences of `length` positions need."""
        length = -(-length // BLOCK) * BLOCK
        if length != self.past.shape[3]:
            both = min(length, self.past.shape[3])
            before, self.past = self.past, self.past.new_zeros(*self.past.shape[:3], length, self.past.shape[4])
            self.past[:, : self.size, :, :both] = before[:, : self.size, :, :both]
