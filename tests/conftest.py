"""What many tests share: a small tokenizer, a small config like `nano`'s, a checkpoint of random weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from parley.checkpoints import save_stage
from parley.config import (
    ChatFormat,
    IstftCodecConfig,
    LanguageConfig,
    ParleyConfig,
    SpeechConfig,
    SpeechDecoderConfig,
    VisionConfig,
)
from parley.models.parley import Parley

torch.set_num_threads(1)

SENTENCES = [
    "hello, how are you today?",
    "what colour is the circle at the top left?",
    "the red square is left of the blue triangle.",
    "what is two plus three? it is five.",
    "i am parley, and i can see, hear and answer aloud.",
]


def train_tokenizer(chat: ChatFormat, vocab_size: int = 320, extra: tuple[str, ...] = ()) -> Tokenizer:
    """A byte-level BPE over a handful of sentences, with the chat format's special tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    markup = (chat.system_open, chat.user_open, chat.assistant_open, chat.close, *chat.stop)
    special = dict.fromkeys(text.split("\n")[0].split(">")[0] + ">" for text in (*markup, *extra))
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return tokenizer


@pytest.fixture(scope="session")
def tiny_config() -> ParleyConfig:
    """As `nano` computes, but small: milliseconds a step."""
    return ParleyConfig(
        name="tiny",
        vision=VisionConfig(
            image_size=32, patch_size=8, hidden_size=32, num_layers=2, num_heads=2, intermediate_size=64, max_tiles=1,
        ),
        speech=SpeechConfig(
            conv_channels=8, hidden_size=32, num_layers=2, num_heads=2, intermediate_size=64,
            position="rotary", conv_kernel=5, dropout=0.0, chunk_size=4, left_chunks=4, dynamic_chunks=True,
            adapter_kernel=3, adapter_norm="layer", adapter_activation="gelu", num_prompt_embeddings=2,
            ctc_alphabet=" abcdefghijklmnopqrstuvwxyz'",
        ),
        language=LanguageConfig(
            vocab_size=320, hidden_size=48, intermediate_size=96, num_layers=2, num_heads=4, num_kv_heads=2,
            max_position_embeddings=512, rope_theta=10_000.0,
            chat=ChatFormat(
                system_open="<|system|>", user_open="<|user|>", assistant_open="<|assistant|>", close="<|end|>",
                stop=("<|end|>",),
            ),
        ),
        speech_decoder=SpeechDecoderConfig(
            hidden_size=24, intermediate_size=48, num_heads=2, nar_layers=1, ar_layers=2, num_codes=64,
            position="expected_time", top_k=1, chunk_tokens=8, overlap_tokens=2,
        ),
        codec=IstftCodecConfig(
            num_codes=64, code_dim=8, encoder_channels=16, encoder_layers=1, decoder_channels=16, decoder_layers=1,
            num_mel_bins=40, num_speaker_tokens=2, speaker_codes=8, default_speaker=(1, 2),
        ),
    )  # fmt: skip


@pytest.fixture(scope="session")
def tiny_tokenizer(tiny_config: ParleyConfig) -> Tokenizer:
    return train_tokenizer(tiny_config.language.chat, tiny_config.language.vocab_size)


@pytest.fixture(scope="session")
def chatml_tokenizer() -> Tokenizer:
    """A tokenizer with the special tokens of Qwen2.5's chat format."""
    return train_tokenizer(ChatFormat())


def random_model(config: ParleyConfig, tokenizer: Tokenizer) -> Parley:
    """A model of random weights that talks: its answers are words, depend on what it reads, and end at the limit."""
    torch.manual_seed(0)
    model = Parley(config).eval()
    model.tokenizer = tokenizer
    with torch.no_grad():
        # The usual small weights would make it repeat one token for ever.
        for weight in model.language.parameters():
            if weight.ndim == 2:
                weight.normal_(std=0.3)
        special = [i for i, token in tokenizer.get_added_tokens_decoder().items() if token.special]
        if not config.language.tie_word_embeddings:
            model.language.lm_head.weight[special] = 0
        if model.state_head is not None:
            model.state_head.bias.copy_(torch.tensor([4.0, 0.0, 0.0]))  # it takes everything for a spoken question
    return model


@pytest.fixture(scope="session")
def tiny_checkpoint(tiny_config: ParleyConfig, tiny_tokenizer: Tokenizer, tmp_path_factory) -> Path:
    """A checkpoint folder of all parts with random weights, the same in every run. Do not write into it."""
    path = tmp_path_factory.mktemp("checkpoints") / "tiny"
    model = random_model(tiny_config, tiny_tokenizer)
    parts = {name: part.state_dict() for name, part in model.named_children()}
    save_stage(path, stage="random", config=tiny_config, parts=parts, tokenizer=tiny_tokenizer)
    return path
