"""The language model: Qwen2, unmodified, and the head that decides the state (VITA-1.5 paper, 2.1 and 2.3).

Its input is embeddings: text is embedded by its own table, pictures and speech come as embeddings of the same width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from parley.config import STATES, LanguageConfig

if TYPE_CHECKING:
    from transformers import Qwen2ForCausalLM


def build_language(config: LanguageConfig) -> Qwen2ForCausalLM:
    """A Qwen2 with fresh weights. Its `config` holds no generation settings: the caller samples."""
    from transformers.models.qwen2.configuration_qwen2 import Qwen2Config
    from transformers.models.qwen2.modeling_qwen2 import Qwen2ForCausalLM

    if config.hidden_size % config.num_heads or config.num_heads % config.num_kv_heads:
        raise ValueError(
            f"width {config.hidden_size} must divide into {config.num_heads} heads, "
            f"and these into {config.num_kv_heads} KV heads"
        )
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=config.vocab_size,
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            num_hidden_layers=config.num_layers,
            num_attention_heads=config.num_heads,
            num_key_value_heads=config.num_kv_heads,
            max_position_embeddings=config.max_position_embeddings,
            rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
            rms_norm_eps=config.rms_norm_eps,
            tie_word_embeddings=config.tie_word_embeddings,
            bos_token_id=None,
            eos_token_id=None,
        )
    )


class StateHead(nn.Linear):
    """Hidden state `[..., hidden_size]` where an answer opens → logits `[..., 3]` in the order of `config.STATES`."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__(hidden_size, len(STATES))


class EndOfTurnHead(nn.Linear):
    """Hidden state `[..., hidden_size]` where an answer opens → logit `[..., 1]`: is the spoken question complete?"""

    def __init__(self, hidden_size: int) -> None:
        super().__init__(hidden_size, 1)
