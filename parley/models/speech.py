"""Speech encoder: chunked Transformer, CTC head, adapter and prompt (paper 2.1).

Notable points:
- A chunk mask limits attention to the frame's own chunk and some chunks of the past. Everything else is causal or a
  convolution with a fixed reach, so the encoder can run while the user still speaks (`speech_streaming`).
- Position enters through the keys alone. `key_absolute` (as published): the score (q + u)·k + (q + v)·p is
  q·(k + p) + (u·k + v·p), a shifted key and a bias of its own. `rotary`: rotated queries and keys.
  Either way a key never changes, so it can be cached.
- Encoder frames are 40 ms (4 mel frames), embeddings for the language model 80 ms (8 mel frames).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from parley.config import SpeechConfig
from parley.models.rotary import angles, rotate
from parley.text.ctc import CtcVocabulary

SUBSAMPLING = 4  # mel frames an encoder frame
ADAPTER_STRIDE = 2  # encoder frames an embedding
MIN_MEL_FRAMES = 7  # the reach of the two convolutions: fewer make no encoder frame
ADAPTER_NORM_EPS = 1e-3  # as published
ROTARY_BASE = 10_000.0
CHUNK_CHOICES = (4, 6, 8, 12, 16, 24)  # of dynamic chunk training, encoder frames


def chunk_mask(length: int, chunk_size: int, left_chunks: int, device: torch.device | None = None) -> Tensor:
    """bool [length, length]: whether frame i attends to frame j, at [i, j]. Sizes below 0 mean no limit."""
    if chunk_size <= 0:
        return torch.ones(length, length, dtype=torch.bool, device=device)
    chunk = torch.arange(length, device=device) // chunk_size
    behind = chunk[:, None] - chunk[None, :]
    return behind >= 0 if left_chunks < 0 else (behind >= 0) & (behind <= left_chunks)


def subsampled(lengths: Tensor | int) -> Tensor | int:
    """Mel frames → encoder frames that both convolutions can make from them."""
    once = (lengths - 3) // 2 + 1
    twice = (once - 3) // 2 + 1
    return twice.clamp(min=0) if isinstance(twice, Tensor) else max(twice, 0)


class BlockPast(NamedTuple):
    """What one block keeps of the past of each utterance."""

    key: Tensor  # [b, heads, past, head size], position inside
    value: Tensor  # [b, heads, past, head size]
    bias: Tensor  # [b, heads, past]: added to a key's scores for every query; zeros with rotary positions
    conv: Tensor  # [b, conv_kernel - 1, d]: inputs of the causal convolution; [b, 0, d] without one


class Attention(nn.Module):
    """Multi-head self-attention with positions in the keys."""

    def __init__(self, config: SpeechConfig):
        super().__init__()
        size, self.num_heads = config.hidden_size, config.num_heads
        if size % self.num_heads:
            raise ValueError(f"hidden_size {size} must be a multiple of num_heads {self.num_heads}")
        self.head_size = size // self.num_heads
        self.rotary = config.position == "rotary"
        self.query = nn.Linear(size, size)
        self.key = nn.Linear(size, size)
        self.value = nn.Linear(size, size)
        self.out = nn.Linear(size, size)
        self.dropout = config.dropout
        if not self.rotary:
            self.position = nn.Linear(size, size, bias=False)
            self.content_bias = nn.Parameter(torch.empty(self.num_heads, self.head_size))  # u
            self.position_bias = nn.Parameter(torch.empty(self.num_heads, self.head_size))  # v
            nn.init.xavier_uniform_(self.content_bias)
            nn.init.xavier_uniform_(self.position_bias)

    def heads(self, x: Tensor) -> Tensor:
        """[b, t, d] → [b, heads, t, head size]"""
        return x.unflatten(-1, (self.num_heads, self.head_size)).transpose(1, 2)

    def forward(self, x: Tensor, positions: Tensor, visible: Tensor, past: BlockPast | None) -> tuple[Tensor, ...]:
        """`x` [b, t, d] at `positions` [b or 1, t]; `visible` bool, broadcast to [b, 1, t, past + t].

        Returns the output [b, t, d] and all keys, values and biases, past ones first.
        """
        query, key, value = self.heads(self.query(x)), self.heads(self.key(x)), self.heads(self.value(x))
        if self.rotary:
            places = angles(positions, self.head_size, ROTARY_BASE)
            query, key = rotate(query, places), rotate(key, places)
            bias = key.new_zeros(key.shape[:3])
        else:
            place = self.heads(self.position(sinusoid(positions, x.shape[-1], x.dtype)))
            bias = (key * self.content_bias[:, None]).sum(-1) + (place * self.position_bias[:, None]).sum(-1)
            bias = bias / math.sqrt(self.head_size)
            key = key + place
        if past is not None:
            key = torch.cat([past.key, key], 2)
            value = torch.cat([past.value, value], 2)
            bias = torch.cat([past.bias, bias], 2)
        # A frame that attends to nothing (padding outside every chunk) gets zeros: attention defines it so.
        scores = torch.where(visible, 0.0, -torch.inf).to(x.dtype)
        if not self.rotary:
            scores = scores + bias[:, :, None]
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=scores, dropout_p=dropout)
        return self.out(mixed.transpose(1, 2).flatten(2)), key, value, bias


class CausalConvolution(nn.Module):
    """Gated and depthwise, over the past only: the sound of a phone depends on the one before it."""

    def __init__(self, config: SpeechConfig):
        super().__init__()
        size = config.hidden_size
        self.gate = nn.Linear(size, 2 * size)
        self.depthwise = nn.Conv1d(size, size, config.conv_kernel, groups=size)
        self.norm = nn.LayerNorm(size)
        self.out = nn.Linear(size, size)

    def forward(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        """[b, t, d] after `past` [b, kernel - 1, d] (None: silence) → [b, t, d] and the new past."""
        gated = F.glu(self.gate(x), dim=-1)
        reach = self.depthwise.kernel_size[0] - 1
        gated = F.pad(gated, (0, 0, reach, 0)) if past is None else torch.cat([past, gated], 1)
        mixed = self.depthwise(gated.transpose(1, 2)).transpose(1, 2)
        return self.out(F.silu(self.norm(mixed))), gated[:, gated.shape[1] - reach :]


class Block(nn.Module):
    """Pre-norm: attention, causal convolution (if the config has one), feed-forward with ReLU."""

    def __init__(self, config: SpeechConfig):
        super().__init__()
        size = config.hidden_size
        self.attention_norm = nn.LayerNorm(size)
        self.attention = Attention(config)
        if config.conv_kernel > 0:
            self.conv_norm = nn.LayerNorm(size)
            self.conv = CausalConvolution(config)
        else:
            self.conv = None
        self.feed_forward_norm = nn.LayerNorm(size)
        self.up = nn.Linear(size, config.intermediate_size)
        self.down = nn.Linear(config.intermediate_size, size)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, x: Tensor, positions: Tensor, visible: Tensor, past: BlockPast | None = None
    ) -> tuple[Tensor, BlockPast]:
        """`x` [b, t, d] → [b, t, d] and all that a later chunk may need of this one and of its past."""
        mixed, key, value, bias = self.attention(self.attention_norm(x), positions, visible, past)
        x = x + self.dropout(mixed)
        kept = x[:, :0]
        if self.conv is not None:
            mixed, kept = self.conv(self.conv_norm(x), None if past is None else past.conv)
            x = x + self.dropout(mixed)
        x = x + self.dropout(self.down(self.dropout(F.relu(self.up(self.feed_forward_norm(x))))))
        return x, BlockPast(key, value, bias, kept)


class SpeechEncoder(nn.Module):
    """Mel frames → encoder frames: mean and variance, ×4 convolutions, Transformer blocks under a chunk mask."""

    def __init__(self, config: SpeechConfig):
        super().__init__()
        self.config = config
        channels, size = config.conv_channels, config.hidden_size
        self.register_buffer("mean", torch.zeros(config.num_mel_bins))
        self.register_buffer("istd", torch.ones(config.num_mel_bins))
        self.conv1 = nn.Conv2d(1, channels, 3, stride=2)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride=2)
        between = config.subsampled_size or size
        self.project = nn.Linear(channels * subsampled(config.num_mel_bins), between)
        self.embed = nn.Linear(between, size)
        self.embed_norm = nn.LayerNorm(size)
        # The published scale belongs to its way of adding positions; without it a fresh model trains faster unscaled.
        self.embed_scale = math.sqrt(size) if config.position == "key_absolute" else 1.0
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(size)

    def subsample(self, features: Tensor) -> Tensor:
        """Mel frames [b, t, mel] → [b, subsampled(t), d]: frame i is made of mel frames 4i … 4i + 6."""
        if features.shape[1] < MIN_MEL_FRAMES:
            raise ValueError(
                f"speech of {features.shape[1]} mel frames is too short; at least {MIN_MEL_FRAMES} are needed"
            )
        x = ((features - self.mean) * self.istd).to(self.conv1.weight.dtype)
        x = F.relu(self.conv2(F.relu(self.conv1(x[:, None]))))
        x = self.project(x.transpose(1, 2).flatten(2))  # [b, d, t, mel] → [b, t, d·mel], channel before frequency
        x = F.relu(self.embed_norm(self.embed(x)))
        return self.dropout(x * self.embed_scale)

    def forward(
        self, features: Tensor, lengths: Tensor, chunk_size: int | None = None, left_chunks: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Mel frames [b, t, mel] of `lengths` [b] → encoder frames [b, t', d] and their lengths [b].

        `chunk_size` and `left_chunks` default to the config's; in training with `dynamic_chunks` they are drawn anew
        at each call. Utterances are padded on the right; the values of the padding change nothing before it.
        """
        if chunk_size is None and self.training and self.config.dynamic_chunks:
            chunk_size, left_chunks = random_chunks()
        chunk_size = self.config.chunk_size if chunk_size is None else chunk_size
        left_chunks = self.config.left_chunks if left_chunks is None else left_chunks
        x = self.subsample(features)
        lengths = subsampled(lengths)
        time = torch.arange(x.shape[1], device=x.device)
        visible = chunk_mask(x.shape[1], chunk_size, left_chunks, x.device) & (time < lengths[:, None, None, None])
        for block in self.blocks:
            x, _ = block(x, time[None], visible)
        return self.norm(x), lengths


class SpeechAdapter(nn.Module):
    """Encoder frames → embeddings of the language model's width, half as many."""

    def __init__(self, config: SpeechConfig, language_size: int):
        super().__init__()
        size = config.hidden_size
        self.conv = nn.Conv1d(size, 2 * size, config.adapter_kernel, stride=ADAPTER_STRIDE)
        if config.adapter_norm == "batch":
            self.norm = nn.BatchNorm1d(2 * size, eps=ADAPTER_NORM_EPS)
        else:
            self.norm = nn.LayerNorm(2 * size, eps=ADAPTER_NORM_EPS)
        self.activation = nn.ReLU() if config.adapter_activation == "relu" else nn.GELU()
        self.project = nn.Linear(2 * size, language_size)

    def forward(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Frames [b, t, d] of `lengths` [b] → embeddings [b, ceil(t/2), language] and their lengths, ceil(lengths/2).

        Embedding i is made of frames 2i … 2i + kernel - 1, with silence (zeros) after the end.
        """
        outside = torch.arange(frames.shape[1], device=frames.device) >= lengths[:, None]
        x = frames.masked_fill(outside[:, :, None], 0.0).transpose(1, 2)
        x = self.conv(F.pad(x, (0, self.conv.kernel_size[0] - 1)))
        x = self.norm(x).transpose(1, 2) if isinstance(self.norm, nn.BatchNorm1d) else self.norm(x.transpose(1, 2))
        return self.project(self.activation(x)), (lengths + 1) // 2


class SpeechPrompt(nn.Module):
    """Learned embeddings in front of speech. `vectors` is the name of the stored tensor."""

    def __init__(self, config: SpeechConfig, language_size: int):
        super().__init__()
        self.vectors = nn.Parameter(torch.randn(config.num_prompt_embeddings, language_size) * 0.02)  # [n, language]


class CtcHead(nn.Module):
    """Encoder frames → log-probabilities of letters and words, of which a transcript is made."""

    def __init__(self, config: SpeechConfig):
        super().__init__()
        self.vocabulary = CtcVocabulary(config.ctc_alphabet, config.ctc_words)
        self.project = nn.Linear(config.hidden_size, len(self.vocabulary))

    def forward(self, frames: Tensor) -> Tensor:
        """[..., d] → log-probabilities [..., len(vocabulary)]"""
        return F.log_softmax(self.project(frames), dim=-1)

    def transcribe(self, frames: Tensor) -> str:
        """Encoder frames [t, d] of one utterance → its transcript, greedily."""
        return self.vocabulary.decode(self(frames).argmax(-1).tolist())


def random_chunks(generator: torch.Generator | None = None) -> tuple[int, int]:
    """Chunk size and left chunks for a training step, from the generator (None: torch's global one); a quarter of the
    steps attends to everything."""
    first, second, third = torch.rand(3, generator=generator).tolist()
    if first < 0.25:
        return -1, -1
    chunk_size = CHUNK_CHOICES[int(second * len(CHUNK_CHOICES))]
    # At least 48 frames (about two seconds) of past, up to all of it.
    fewest = -(-48 // chunk_size)
    return chunk_size, -1 if third < 0.5 else fewest + int((third - 0.5) * 2 * fewest)


def sinusoid(positions: Tensor, size: int, dtype: torch.dtype) -> Tensor:
    """Absolute positions [...] → [..., size], sine and cosine interleaved, wavelengths 2π … 10000·2π."""
    rate = torch.exp(torch.arange(0, size, 2, device=positions.device) * (-math.log(10_000.0) / size))
    angle = positions[..., None].float() * rate
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(-2).to(dtype)
