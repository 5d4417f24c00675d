"""The KV cache in slots gives the outputs of the plain model."""

from __future__ import annotations

import copy

import torch

from services.llm_core.batch import Chunk, build_batch
from services.llm_core.kv_cache import ATTENTION, SlotCache


@torch.inference_mode()
def test_slots_compute_what_the_plain_model_computes(plain, tiny_config):
    """Logits to 1e-4: chunks of prompts beside single tokens in one pass, in swapped and reloaded slots."""
    config = tiny_config.language
    language = copy.deepcopy(plain)
    language.set_attn_implementation(ATTENTION)
    cache = SlotCache(language.config, 3, 64, torch.device("cpu"), torch.float32)
    cache.store += 7.0  # what an earlier sequence left must not matter
    inputs = [torch.randn(length, config.hidden_size) * 0.3 for length in (14, 25, 19)]
    outputs = [[], [], []]
    slots = {0: 0, 1: 1, 2: 2}  # sequence → slot

    def step(decoding: list[tuple[int, int]], chunks: list[tuple[int, int, int]]) -> None:
        """decoding: (sequence, position) in the order of slots; chunks: (sequence, start, end)"""
        windows = [Chunk(slots[sequence], start, end - start) for sequence, start, end in chunks]
        batch = build_batch([position for _, position in decoding], windows, torch.device("cpu"), torch.float32)
        spans = [(sequence, position, position + 1) for sequence, position in decoding] + chunks
        cache.begin(batch)
        hidden = language.model(
            inputs_embeds=torch.cat([inputs[sequence][start:end] for sequence, start, end in spans])[None],
            position_ids=batch.positions, attention_mask={"full_attention": None},
            past_key_values=cache, use_cache=True, slots=cache,
        ).last_hidden_state[0]  # fmt: skip
        for sequence, start, end in spans:
            outputs[sequence].append(language.lm_head(hidden[: end - start]))
            hidden = hidden[end - start :]

    step([], [(0, 0, 5), (1, 0, 17)])
    step([(0, 5), (1, 17)], [(2, 0, 4)])
    step([(0, 6), (1, 18)], [(2, 4, 5)])
    cache.swap(0, 2, 30)
    slots.update({0: 2, 2: 0})
    step([(2, 5), (1, 19)], [(0, 7, 12)])
    saved = cache.save(0, 6)
    cache.clear(0)
    cache.load(0, saved)
    step([(2, 6), (1, 20)], [(0, 12, 14)])
    for sequence, parts in enumerate(outputs):
        found = torch.cat(parts)
        want = plain(inputs_embeds=inputs[sequence][None, : len(found)]).logits[0]
        assert torch.allclose(found, want, atol=1e-4), (sequence, (found - want).abs().max())
