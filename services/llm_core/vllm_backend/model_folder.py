"""The folder that vLLM loads a checkpoint's language model from: Qwen2 as Hugging Face stores it.

vLLM returns logits and no hidden states. The state and the end-of-turn head are linear in the same hidden state as the
output head, so their weights become further rows of it; their logits are read like those of tokens.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from parley.checkpoints import Checkpoint
from parley.config import LanguageConfig
from parley.models.language import build_language

SIZE = "parley_vocab_size"  # in the config: rows of the output head that are tokens
EMBEDDINGS, OUTPUT_HEAD = "model.embed_tokens.weight", "lm_head.weight"


def write_config(config: LanguageConfig, num_rows: int, folder: Path) -> None:
    """`num_rows`: of the output head, behind those of the vocabulary."""
    with torch.device("meta"):
        described = build_language(config).config
    described.architectures = ["Qwen2ForCausalLM"]
    setattr(described, SIZE, config.vocab_size)
    described.vocab_size = config.vocab_size + num_rows
    described.save_pretrained(folder)


def write_weights(checkpoint: Checkpoint, rows: Tensor | None, folder: Path) -> None:
    """Files that need no change are linked to. `rows`: [rows, width], further rows of the output head.

    Raises `CheckpointError` for a file that is damaged.
    """
    config = checkpoint.config.language
    for number, source in enumerate(checkpoint.files("language")):
        target = folder / f"model-{number:05}.safetensors"
        with safe_open(source, "pt") as file:
            tables = {EMBEDDINGS, OUTPUT_HEAD} & set(file.keys())
            if rows is None or not tables:
                target.symlink_to(source)
                continue
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        for name in tables:
            is_head = name == OUTPUT_HEAD or config.tie_word_embeddings
            more = rows.to(tensors[name].dtype) if is_head else tensors[name].new_zeros(rows.shape)
            tensors[name] = torch.cat([tensors[name], more])
        save_file(tensors, target, {"format": "pt"})
