"""The model under test, loaded and asked: for suites over the user's data."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch

from parley.checkpoints import Checkpoint, load_model
from parley.models.parley import Parley
from training.distributed.precision import best_device


def load_parts(
    checkpoint: Checkpoint, needed: Collection[str], useful: Collection[str] = (), dtype: torch.dtype | None = None
) -> Parley:
    """The parts of a checkpoint on the GPU or the CPU; the useful ones where it has them.

    `dtype`: None for bf16 on a GPU and fp32 on a CPU. Raises `CheckpointError` if a part is missing that is needed.
    """
    device = best_device()
    dtype = dtype or (torch.bfloat16 if device.type == "cuda" else torch.float32)
    parts = [*needed, *(part for part in useful if part in checkpoint.parts)]
    return load_model(checkpoint, parts, device, dtype)


@torch.inference_mode()
def answer(model: Parley, messages: list[dict[str, Any]], max_tokens: int) -> str:
    """What the model writes after messages whose media are arrays, greedily, whatever it takes the state to be.

    Raises `ValueError` for messages that are longer than the model reads.
    """
    if model.state_head is not None or model.writer.state_ids is not None:
        return model.reply(messages, max_tokens=max_tokens, speak=False, always=True).text
    # Before stage 2.2 a model has no state.
    prompt = model.embed(messages)[None]
    free = model.config.language.max_position_embeddings - prompt.shape[1]
    if free <= 0:
        raise ValueError(f"the conversation is {prompt.shape[1]} embeddings long; the model reads fewer")
    stops = sorted(model.writer.stop_ids)
    ids = model.language.generate(
        inputs_embeds=prompt, attention_mask=torch.ones(prompt.shape[:2], dtype=torch.long, device=prompt.device),
        max_new_tokens=min(max_tokens, free), do_sample=False, eos_token_id=stops, pad_token_id=stops[0],
    )  # fmt: skip
    return model.writer.decode(ids[0].tolist())
