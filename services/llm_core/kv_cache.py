"""Keys and values of all running sequences in one tensor, and the attention that reads them in place.

Notable points:
- A `transformers` Cache and a registered attention function: the model's own code runs unmodified.
- Each token is written at its sequence's slot and position; attention reads slices of the tensor and copies nothing.
- Query heads of one token that share a KV head are laid out as more queries of that head: keys are not repeated either.
- What a slot holds can be saved as a tensor of its exact size and loaded into any slot.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch.nn.attention.bias import causal_lower_right
from transformers import AttentionInterface, Qwen2Config
from transformers.cache_utils import Cache

from services.llm_core.batch import Batch

ATTENTION = "parley_slots"  # the name that `set_attn_implementation` takes


class SlotCache(Cache):
    """[layers, 2, slots, heads, length, head size]; `batch` says where the next forward pass writes and reads."""

    def __init__(self, config: Qwen2Config, slots: int, length: int, device: torch.device, dtype: torch.dtype):
        super().__init__(layers=[])
        self.num_heads = config.num_key_value_heads
        self.length = length
        head_size = config.hidden_size // config.num_attention_heads
        shape = (config.num_hidden_layers, 2, slots, self.num_heads, length, head_size)
        # Zeros, because what a masked position holds is still multiplied by zero. Untouched pages of a CPU are free.
        self.store = torch.zeros(shape, device=device, dtype=dtype)
        flat = self.store.view(config.num_hidden_layers, 2, -1, head_size)
        self._flat = [(layer[0], layer[1]) for layer in flat]
        self._heads = torch.arange(self.num_heads, device=device)
        self.batch: Batch | None = None
        self._write_at: torch.Tensor | None = None

    def begin(self, batch: Batch) -> None:
        """The next forward pass computes `batch`."""
        self.batch = batch
        slot_heads = batch.slots[:, None] * self.num_heads + self._heads  # [N, heads]
        self._write_at = (slot_heads * self.length + batch.positions[0][:, None]).flatten()

    def update(self, key_states, value_states, layer_idx, *args, **kwargs):
        """Writes [1, heads, N, head size] of one layer; attention reads `store`, so what is returned is not used."""
        for target, states in zip(self._flat[layer_idx], (key_states, value_states), strict=True):
            target.index_copy_(0, self._write_at, states[0].transpose(0, 1).flatten(0, 1))
        return key_states, value_states

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Sequences have lengths, the cache has none; positions are always given."""
        return 0

    def save(self, slot: int, length: int) -> torch.Tensor:
        """A copy of a slot's first `length` positions: [layers, 2, heads, length, head size]."""
        return self.store[:, :, slot, :, :length].clone()

    def load(self, slot: int, saved: torch.Tensor) -> None:
        self.store[:, :, slot, :, : saved.shape[3]] = saved

    def copy(self, source: int, target: int, length: int) -> None:
        """Writes a slot's first `length` positions over those of another."""
        self.store[:, :, target, :, :length] = self.store[:, :, source, :, :length]

    def finite(self, slot: int, length: int) -> bool:
        """Whether a slot's first `length` positions may be multiplied by, at least by zero."""
        return bool(self.store[:, :, slot, :, :length].isfinite().all())

    def clear(self, slot: int) -> None:
        self.store[:, :, slot] = 0

    def swap(self, a: int, b: int, length: int) -> None:
        """Exchanges the first `length` positions of two slots."""
        saved = self.save(a, length)
        self.store[:, :, a, :, :length] = self.store[:, :, b, :, :length]
        self.load(b, saved)


def attend(module, query, key, value, attention_mask, scaling=None, slots: SlotCache | None = None, **kwargs):
    """Attention within each sequence. query: [1, heads, N, head size]; returns [1, N, heads, head size] and None."""
    batch = slots.batch
    keys, values = slots.store[module.layer_idx]
    queries = query[0].transpose(0, 1)  # [N, heads, head size]
    kv_heads = slots.num_heads
    outputs = []
    if batch.num_decoding:
        n, end = batch.num_decoding, batch.decoding_length
        grouped = queries[:n].reshape(n, kv_heads, -1, queries.shape[-1])
        attended = F.scaled_dot_product_attention(
            grouped, keys[:n, :, :end], values[:n, :, :end], attn_mask=batch.decoding_mask, scale=scaling
        )
        outputs.append(attended.reshape(n, *queries.shape[1:]))
    first = batch.num_decoding
    for chunk in batch.chunks:
        window = (chunk.slot, slice(None), slice(0, chunk.end))
        # Each token sees the past and the chunk up to itself; kernels of a GPU need no mask for that.
        visible = causal_lower_right(chunk.count, chunk.end) if chunk.count > 1 else None
        attended = F.scaled_dot_product_attention(
            query[:, :, first : first + chunk.count], keys[window][None], values[window][None],
            attn_mask=visible, scale=scaling, enable_gqa=True,
        )  # fmt: skip
        outputs.append(attended[0].transpose(0, 1))
        first += chunk.count
    output = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
    return output[None], None


AttentionInterface.register(ATTENTION, attend)
